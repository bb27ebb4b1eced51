package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/outwarden/outwarden/pkg/handover"
)

// openHandover opens the door for successors.
func (d *Daemon) openHandover(context.Context) error {
	if d.o.Ephemeral { // it leaves with its last run
		return nil
	}
	door, err := handover.OpenDoor(handover.Path(d.atStart.RunDir), &d.inherited)
	if err != nil {
		return err
	}
	d.door = door
	d.later(func() {
		_ = door.Close()
		if d.started && !d.relieved { // else it is another's
			d.report("hand over", door.Remove())
		}
	})
	return nil
}

// awaitSuccessors hands who comes to Run, one at a time.
func (d *Daemon) awaitSuccessors(ctx context.Context) {
	if d.door != nil {
		d.door.Serve(ctx, d.terms, d.successors, func(err error) { d.report("hand over", err) })
	}
}

// handOver gives a successor what we have, and reports whether it serves now.
// Until it does we go on, and if it fails we take our duties up again; an error
// is that we can't.
func (d *Daemon) handOver(s *handover.Successor) (relieved bool, err error) {
	defer d.aliveFor(handover.Longest + reloadPatience)()
	d.unwatchNamespaces() // all listeners there will be are offered
	d.tables.hold(true)   // the successor puts its own in place
	files, err := d.offer()
	if err == nil {
		defer files.Close()
		err = s.Offer(files)
	}
	if err != nil {
		d.failHandover(err)
		if errors.Is(err, os.ErrDeadlineExceeded) { // it has our locks and listeners, and may never come to itself
			s.End(err)
		}
		d.handoverFailed(s, err)
		d.watchNamespaces()
		return false, nil
	}
	d.leaveDuties()
	next, err := s.Yield(func() { d.notify(fmt.Sprintf("MAINPID=%d", s.PID)) })
	if err != nil {
		d.failHandover(err) // before it has ended, which the one who asked waits for
		s.End(err)
		d.inherited.Regain(files)
		d.handoverFailed(s, err)
		if err := d.resumeDuties(); err != nil {
			d.records.End()
			return false, err
		}
		return false, nil
	}
	d.records.MoveTo(next)
	if seen := d.signing.Seen.Load(); seen != nil {
		seen.HandTo(next.Accept)
	}
	d.relieved, d.heir = true, s
	select {
	case d.heirs <- s:
	default: // nobody asked us
	}
	return true, nil
}

// offer is everything that a successor takes over.
func (d *Daemon) offer() (*handover.Files, error) {
	files := &handover.Files{}
	failed := []error{
		files.AddDuplicate(handover.KindLock, d.lock),
		files.AddDuplicate(handover.KindPins, d.capture.Lock()),
		files.Add(handover.KindControl, d.control.File),
		files.Add(handover.KindHandover, d.door.File),
	}
	for _, l := range d.listeners.all() {
		failed = append(failed, files.Add(handover.KindListener, l.File))
	}
	for _, l := range d.guests.sockets {
		failed = append(failed, files.Add(handover.KindGuest, l.File))
	}
	if err := errors.Join(failed...); err != nil {
		files.Close()
		return nil, err
	}
	return files, nil
}

// handoverFailed says so, here and to whoever asked for the upgrade.
func (d *Daemon) handoverFailed(s *handover.Successor, err error) {
	d.tables.hold(false)
	s.Refuse(err)
	d.report("hand over", d.restorePorts())
	d.o.Log.WithError(err).WithField("pid", s.PID).Error("the successor did not take over; we go on")
}

// restorePorts captures our ports again; the successor began with its own.
func (d *Daemon) restorePorts() error {
	d.changing.Lock()
	defer d.changing.Unlock()
	return d.capture.SetPorts(d.loaded.config.Capture.Ports)
}
