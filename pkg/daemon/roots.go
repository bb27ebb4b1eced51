package daemon

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"

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

// hostRoots are what this host trusts, for upstreams whose route names no CA. The
// administrator and the distribution change that while we run, and what is distrusted
// is so for a reason.
type hostRoots struct {
	current atomic.Pointer[x509.CertPool]
	stamp   string // guarded by Daemon.changing
}

func (h *hostRoots) get() *x509.CertPool { return h.current.Load() }

// look reads them if they have changed since it last did, and reports whether there are
// others now. Those that cannot be read are just being written.
func (h *hostRoots) look() bool {
	stamp := trust.SystemStamp()
	if stamp == h.stamp {
		return false
	}
	roots := trust.SystemRoots()
	if roots == nil {
		return false
	}
	h.stamp = stamp
	before := h.current.Swap(roots)
	return before != nil && !before.Equal(roots)
}

// renewHostRoots ends what was verified against roots of before.
func (d *Daemon) renewHostRoots() {
	d.changing.Lock()
	defer d.changing.Unlock()
	if d.host.look() {
		d.upstreams.Retire()
		d.o.Log.Info("the roots that this host trusts have changed, and are in use")
	}
}
