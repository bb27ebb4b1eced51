package daemon

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/outwarden/outwarden/pkg/trust"
)

// spreadRoot puts the root that is in force where workloads look for it.
func (d *Daemon) spreadRoot() error {
	root := d.leaves.get().RootPEM()
	if _, err := trust.Prepare(trustDir(d.atStart), root); err != nil {
		return fmt.Errorf("prepare trust stores: %w", err)
	}
	d.spread = root
	return nil
}

// renewTrust has the root issued again when its end is near, be it that the daemon has
// run for a year or that the clock was put right, and gives it to workloads that start
// from then on: with the one before they would refuse every leaf once that has ended.
// It also does what a reload could not finish.
func (d *Daemon) renewTrust() {
	d.changing.Lock()
	defer d.changing.Unlock()
	if d.leaving {
		return // the successor does
	}
	err := d.leaves.get().Renew()
	if renewed := d.leaves.get().RootPEM(); !bytes.Equal(renewed, d.spread) {
		err = errors.Join(err, d.spreadRoot())
	}
	if err != nil && !d.unspread {
		d.o.Log.WithError(err).Error("the root can't be renewed, or not be given to workloads")
	}
	d.unspread = err != nil
}
