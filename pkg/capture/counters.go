package capture

import (
	"fmt"

	"github.com/outwarden/outwarden/pkg/flow"
)

// kernelReasons is how many numbers of flow.Reason belong to the kernel; REASON_END in bpf/flow.h.
const kernelReasons = 32

// counterNames are the counters after those by reason, in the order of enum counter.
var counterNames = [...]string{
	"redirected",
	"passed",
	"denied",
	"events_lost",
	"records_lost",
	"records_contested",
}

// Counters gives what the kernel side has counted since it was first attached:
// by the name of each reason, how many connects and packets were denied or passed
// for it; redirected, passed (in scope, with a reason) and denied ones of them; events_lost
// (the ring buffer was full), records_lost and records_contested (redirected
// connections that Lookup will not find).
func (c *Capture) Counters() (map[string]uint64, error) {
	counters := map[string]uint64{}
	for i := range c.maps.Counters.MaxEntries() {
		name := counterName(i)
		if name == "" {
			continue
		}
		var cpus []uint64
		if err := c.maps.Counters.Lookup(i, &cpus); err != nil {
			return nil, fmt.Errorf("read counter %s: %v", name, err)
		}
		for _, n := range cpus {
			counters[name] += n
		}
	}
	return counters, nil
}

// counterName is the name of a counter, or "" for a number without one.
func counterName(i uint32) string {
	if i >= kernelReasons {
		if i -= kernelReasons; int(i) < len(counterNames) {
			return counterNames[i]
		}
		return ""
	}
	if i > uint32(lastKernelReason) {
		return ""
	}
	return flow.Reason(i).String()
}

// lastKernelReason is the last entry of enum reason before REASON_END.
const lastKernelReason = flow.ReasonConnectUnseen
