package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/control"
	"github.com/outwarden/outwarden/pkg/handover"
)

// duties are what only one daemon of a configuration can do at a time: write the
// trail, keep the scopes, answer control requests, read kernel events. Flows are
// none: two daemons can serve them side by side, and do while one relieves the
// other. See doc.go for the order.
type duties struct {
	trail   *audit.Log
	scopes  *scopes
	control *control.Server

	stop context.CancelFunc // ends what watch started
	work sync.WaitGroup

	unwatchNamespaces func() // safe to call again
}

func (d *Daemon) openTrail(context.Context) error {
	d.later(d.closeTrail)
	return d.beginTrail()
}

func (d *Daemon) beginTrail() error {
	c := d.atStart
	_, missing := os.Stat(trailDir(c))
	trail, err := d.takeTrail(trailDir(c), audit.Options{Synced: c.Audit.Synced})
	if err != nil {
		return err
	}
	if !d.firstStart && errors.Is(missing, fs.ErrNotExist) {
		d.o.Log.WithField("dir", trailDir(c)).Error("an empty audit trail begins, though a daemon has served here before: who removed or moved the old one?")
	}
	d.trail = trail
	d.records.MoveTo(trail)
	d.tellLosses(trail.Losses())
	return nil
}

// tellLosses says what is not in the trail any more. What a crash explains is no more
// than that; the rest somebody did, or the disk.
func (d *Daemon) tellLosses(losses []audit.Record) {
	for _, lost := range losses {
		log := d.o.Log.WithFields(logrus.Fields{"reason": lost.Reason, "records": lost.Lost})
		if why := lost.Suspicion(); why != "" {
			log.Error("the audit trail is not as it was left: " + why + "; see: outwarden audit verify")
			continue
		}
		log.Warn("the audit trail lacks what a crash took")
	}
}

// takeTrail waits for it where a daemon before us has it until it has ended.
func (d *Daemon) takeTrail(dir string, o audit.Options) (*audit.Log, error) {
	const every = 25 * time.Millisecond
	trail, err := audit.Open(dir, o)
	for end := time.Now().Add(handover.Patience); d.predecessor != nil && errors.Is(err, audit.ErrLocked) && time.Now().Before(end); {
		time.Sleep(every)
		trail, err = audit.Open(dir, o)
	}
	return trail, err
}

func (d *Daemon) closeTrail() {
	switch {
	case d.trail == nil, d.relieved:
	case !d.started && d.predecessor != nil: // it takes the trail up again
		d.report("audit trail", d.trail.Leave())
	default:
		d.report("audit trail", d.trail.Close())
	}
}

// trailDir is where the segments of the trail lie.
func trailDir(c *config.Config) string { return filepath.Join(c.StateDir, "audit") }

func (d *Daemon) openScopes(context.Context) error {
	d.later(d.closeScopes)
	return d.beginScopes()
}

func (d *Daemon) closeScopes() {
	if d.scopes != nil {
		d.scopes.end()
	}
}

func (d *Daemon) openControl(context.Context) error {
	d.later(d.unwatch) // once nobody can ask: what it ends writes to the trail and mends hooks
	d.later(d.closeControl)
	return d.beginControl()
}

// beginControl goes on with the socket of the daemon before, or opens one.
func (d *Daemon) beginControl() error {
	path := SocketPath(d.atStart)
	if f := d.inherited.TakeControl(); f != nil {
		s, err := control.Resume(f, path, d)
		if err == nil {
			d.control = s
			return nil
		}
		d.o.Log.WithError(err).Warn("control socket")
	}
	s, err := control.Listen(path, d)
	if err != nil {
		return err
	}
	d.control = s
	return nil
}

// closeControl removes the socket, unless somebody goes on with it: the daemon
// that we did not relieve after all, or the one that comes after us.
func (d *Daemon) closeControl() {
	if d.control == nil {
		return
	}
	if !d.started && d.predecessor != nil || d.stored {
		d.control.Leave()
	}
	d.report("control socket", d.control.Close())
}

// SocketPath is where the daemon of a configuration listens for control requests.
func SocketPath(c *config.Config) string { return filepath.Join(c.RunDir, "control.sock") }

// watch answers control requests and reads kernel events until unwatch.
func (d *Daemon) watch() {
	ctx, stop := context.WithCancel(context.Background())
	d.stop = stop
	server := d.control
	d.duties.work.Go(func() { d.report("control socket", server.Serve()) })
	d.duties.work.Go(func() { d.watchKernel(ctx) })
	d.duties.work.Go(func() { d.watchExisting(ctx) })
	d.duties.work.Go(func() { d.watchHooks(ctx) })
	d.watchNamespaces()
}

// unwatch ends what watch began, if it did; it is safe to call again. Nothing that
// it waits for may take d.changing, which leaveDuties holds.
func (d *Daemon) unwatch() {
	if d.stop == nil {
		return
	}
	d.unwatchNamespaces()
	d.stop()
	d.duties.work.Wait()
}

// watchNamespaces gives namespaces that come listeners, until unwatchNamespaces.
func (d *Daemon) watchNamespaces() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); d.namespaces.run(ctx) }()
	d.unwatchNamespaces = func() { stop(); <-done }
}

// leaveDuties leaves them to a successor. Records wait from now on.
func (d *Daemon) leaveDuties() {
	d.changing.Lock() // a reload that is under way comes first, and no other after it
	defer d.changing.Unlock()
	d.leaving = true
	d.control.Leave()
	d.scopes.end()
	d.unwatch()
	if seen := d.signing.Seen.Load(); seen != nil {
		d.report("replay cache", seen.Suspend())
	}
	d.records.Hold()
	d.report("audit trail", d.trail.Leave())
}

// resumeDuties takes them up again where the successor failed.
func (d *Daemon) resumeDuties() error {
	d.changing.Lock()
	defer d.changing.Unlock()
	d.mu.Lock() // status asks the trail
	defer d.mu.Unlock()
	if err := d.beginTrail(); err != nil {
		return err
	}
	if seen := d.signing.Seen.Load(); seen != nil {
		if err := seen.Resume(); err != nil {
			return err
		}
	}
	if err := d.beginScopes(); err != nil {
		return err
	}
	if err := d.beginControl(); err != nil {
		return err
	}
	d.watch()
	d.leaving = false
	return nil
}
