package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/outwarden/outwarden/pkg/flow"
)

// EventKind says what an [Event] is about.
type EventKind uint8

// The kinds of events; bpf/flow.h has the same names and numbers.
const (
	EventPass   EventKind = 1 + iota // an in-scope connect() passed and Flow.Reason says why it was not redirected
	EventDeny                        // an in-scope connect() or sendmsg() was refused; Flow.Reason says why
	EventExec                        // an in-scope process has executed a new program; Flow.Caller is the new identity
	EventExit                        // an in-scope process has ended; Flow.Caller has no executable any more; may come twice
	EventJoin                        // a process has been moved into scope: what it connected before is for ExistingOf to find
	EventCgroup                      // a cgroup was made that SetScope had named: SetScope is to be called again, for what stands at each cgroup
)

// Event is something that the kernel side reports outside the flows that are redirected.
type Event struct {
	Kind EventKind
	Flow flow.Flow // for exec, exit, join and cgroup only At, Cgroup and Caller are set
}

// rawEvent is struct event, which bpf2go does not see because no map holds it.
type rawEvent struct {
	Flow outwardenFlow
	Kind uint32
	Zero uint32
}

// Events calls f for each event, one at a time and in order, until ctx ends,
// and returns the cause. Only one call at a time gets all of them. Events that
// nobody read in time are lost and counted as events_lost.
func (c *Capture) Events(ctx context.Context, f func(Event)) error {
	reader, err := ringbuf.NewReader(c.maps.Events)
	if err != nil {
		return fmt.Errorf("read events: %v", err)
	}
	defer reader.Close()
	defer context.AfterFunc(ctx, func() { reader.Close() })()
	var record ringbuf.Record
	for {
		err := reader.ReadInto(&record)
		if errors.Is(err, ringbuf.ErrClosed) {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("read events: %v", err)
		}
		event, err := toEvent(record.RawSample)
		if err != nil {
			return err
		}
		f(event)
	}
}

func toEvent(sample []byte) (Event, error) {
	var raw rawEvent
	if err := binary.Read(bytes.NewReader(sample), binary.NativeEndian, &raw); err != nil {
		return Event{}, fmt.Errorf("decode event of %d bytes: %v", len(sample), err)
	}
	return Event{Kind: EventKind(raw.Kind), Flow: toFlow(&raw.Flow, bootTime())}, nil
}
