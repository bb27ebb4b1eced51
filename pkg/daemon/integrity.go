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
// anew for a moment.
const integrityPause = time.Second

// watchHooks sees to it that the hooks stay in force, whoever detaches or wipes
// them, until ctx ends. From the first look that finds something broken until
// one finds all in force, we are not ready.
func (d *Daemon) watchHooks(ctx context.Context) {
	tick := time.NewTicker(integrityPause)
	defer tick.Stop()
	before := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		fault := strings.Join(d.capture.Broken(), "; ")
		d.fault.Store(&fault)
		broken := fault != ""
		if broken && before {
			d.mendHooks(fault)
		}
		before = broken && !before
	}
}

// mendHooks puts the hooks back and says so, where somebody will look.
func (d *Daemon) mendHooks(fault string) {
	outcome := "mended"
	if err := d.capture.Mend(); err != nil {
		outcome = "cannot be mended: " + err.Error()
	}
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
