package daemon

import (
	"context"
	"net/netip"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/capture"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/policy"
)

// flows lets the proxy ask the hooks, which come up after it is built.
type flows struct{ d *Daemon }

// Lookup finds the record of a connect, once.
func (f flows) Lookup(netns uint64, local, remote netip.AddrPort) (flow.Flow, bool) {
	if netns == guestNetns {
		return f.d.guestFlow(local, remote)
	}
	return f.d.capture.LookupIn(netns, local, remote)
}

// Reaches reports whether a workload's own network namespace has a way to where it
// wants to go.
func (f flows) Reaches(netns uint64, to netip.Addr) bool { return f.d.capture.Reaches(netns, to) }

// watchKernel keeps identities fresh, and records what the hooks decided
// without the proxy ever seeing the connection.
func (d *Daemon) watchKernel(ctx context.Context) {
	d.report("kernel events", d.capture.Events(ctx, d.kernelEvent))
}

func (d *Daemon) kernelEvent(e capture.Event) {
	caller := &e.Flow.Caller
	switch e.Kind {
	case capture.EventExec:
		d.namespaces.started(&e.Flow)
		d.processes.Executed(caller.PID, caller.Start)
	case capture.EventExit:
		d.processes.Exited(caller.PID, caller.Start)
	case capture.EventJoin:
		d.existing.joined(*caller)
	case capture.EventCgroup:
		d.scopes.look()
	case capture.EventPass:
		d.namespaces.missed(&e.Flow)
		d.recordVerdict(&e.Flow, policy.Passthrough)
	case capture.EventDeny:
		if e.Flow.Reason == flow.ReasonConnectUnseen {
			d.connectUnseen(&e.Flow)
		}
		d.namespaces.missed(&e.Flow)
		d.recordVerdict(&e.Flow, policy.Deny)
	}
}

func (d *Daemon) recordVerdict(f *flow.Flow, decision policy.Action) {
	id, err := d.processes.Glance(f) // whoever comes after this event waits for us
	d.report("identify", err)
	err = d.trail.Append(&audit.Record{
		Kind: audit.KindConnection, Time: time.Now(), Flow: f.ID(), Process: id,
		Original: &audit.Endpoint{IP: f.Original.Addr().String(), Port: f.Original.Port()},
		Decision: decision.String(), Reason: f.Reason.String(),
	})
	d.report("audit trail", err)
}
