package daemon

import (
	"context"
	"strings"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/flow"
)

// integrityPause is between two looks at the pinned state. What is broken at
// two looks running is mended at the second: a successor that takes over pins
// anew for a moment. A connection that no hook has seen leaves no doubt.
const integrityPause = time.Second

// watchHooks sees to it that the hooks stay in force, whoever detaches or wipes
// them, until ctx ends. From the first look that finds something broken until
// one finds all in force, we are not ready.
func (d *Daemon) watchHooks(ctx context.Context) {
	tick := time.NewTicker(integrityPause)
	defer tick.Stop()
	before := false
	unseen := d.unseen // nil where one has been looked into since the last tick
	for {
		certain := false
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			unseen = d.unseen
		case <-unseen:
			certain, unseen = true, nil
		}
		fault := strings.Join(d.capture.Broken(), "; ")
		d.fault.Store(&fault)
		broken := fault != ""
		mend := broken && (before || certain)
		if mend {
			d.mendHooks(fault)
		}
		before = broken && !mend
	}
}

// connectUnseen ends a connection that the hooks would have led to us: it waits in
// vain, and somebody has detached them.
func (d *Daemon) connectUnseen(f *flow.Flow) {
	d.report("abort a connection that no hook has seen", d.capture.Abort(f))
	select {
	case d.unseen <- struct{}{}:
	default: // it is about to be looked into
	}
}

// mendHooks puts the hooks back and says so, where somebody will look.
func (d *Daemon) mendHooks(fault string) {
	outcome := "mended"
	if err := d.capture.Mend(); err != nil {
		outcome = "cannot be mended: " + err.Error()
	}
	d.tables.forget()
	d.o.Log.WithField("outcome", outcome).Error("somebody has broken the kernel hooks: " + fault)
	d.report("audit trail", d.trail.Append(&audit.Record{
		Kind: audit.KindAlert, Time: time.Now(), Reason: flow.ReasonHooksBroken.String(),
		Anomaly: &audit.Anomaly{Reasons: []string{fault, outcome}},
	}))
}

// faultNow is what is wrong with the hooks, or "".
func (d *Daemon) faultNow() string {
	if fault := d.fault.Load(); fault != nil {
		return *fault
	}
	return ""
}
