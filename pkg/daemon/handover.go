package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/control"
)

// successor is a daemon that wants to take over.
type successor struct {
	*line
	terms terms
	pid   int
}

// openHandover waits for a successor at a socket of its own: descriptors travel on
// it. The socket itself is handed over too.
func (d *Daemon) openHandover(context.Context) error {
	if d.o.Ephemeral { // it leaves with its last run
		return nil
	}
	path := handoverPath(d.loaded.config)
	l, err := d.listenHandover(path)
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	d.handover = l
	d.later(func() {
		_ = l.Close()
		if d.started && !d.relieved { // else it is another's
			d.report("hand over", removeIfThere(path))
		}
	})
	return nil
}

func (d *Daemon) listenHandover(path string) (*net.UnixListener, error) {
	if f := d.inherited.handover; f != nil {
		l, err := net.FileListener(f)
		if err != nil {
			return nil, err
		}
		return l.(*net.UnixListener), nil
	}
	if err := removeIfThere(path); err != nil { // of one that was killed
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, 0o600)
}

// awaitSuccessors hands who comes to Run, one at a time.
func (d *Daemon) awaitSuccessors(ctx context.Context) {
	if d.handover == nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = d.handover.Close() })
	defer stop()
	for {
		conn, err := d.handover.AcceptUnix()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				d.report("hand over", err)
			}
			return
		}
		s, err := d.meet(conn)
		if err != nil {
			d.report("hand over", err)
			continue
		}
		select {
		case d.successors <- s:
		case <-ctx.Done():
			s.close()
			return
		}
	}
}

// meet finds out who it is and whether it could go on where we stop.
func (d *Daemon) meet(conn *net.UnixConn) (*successor, error) {
	s := &successor{line: newLine(conn)}
	err := d.agree(s, conn)
	if err != nil {
		_ = s.send(&message{Failed: err.Error()})
		s.close()
		return nil, err
	}
	return s, nil
}

// agree is an error if the successor is not to be trusted, or has other places.
func (d *Daemon) agree(s *successor, conn *net.UnixConn) error {
	if err := control.Trusted(conn); err != nil {
		return err
	}
	peer, err := control.Peer(conn)
	if err != nil {
		return err
	}
	m, err := s.receive(handoverPatience)
	if err != nil {
		return err
	}
	if m.Terms == nil {
		return errors.New("the successor states no terms")
	}
	s.terms, s.pid = *m.Terms, int(peer.Pid)
	ours, err := d.terms()
	if err != nil {
		return err
	}
	return ours.sameAs(&s.terms)
}

// sameAs refuses a successor that has other places than we, or would attach
// programs that say something else. Only a restart can change them.
func (t *terms) sameAs(next *terms) error {
	for _, f := range []struct {
		key       string
		old, next any
	}{
		{"state_dir", t.StateDir, next.StateDir},
		{"capture.pin_dir", t.PinDir, next.PinDir},
		{"capture.mark", t.Mark, next.Mark},
		{"capture.listen", t.Listen, next.Listen},
		{"the daemon's cgroup", t.Cgroup, next.Cgroup},
		{"capture.fail", t.Fail, next.Fail},
		{"capture.raw", t.Raw, next.Raw},
		{"capture.backend", t.Backend, next.Backend},
		{"capture.redirect_mark", t.RedirectMark, next.RedirectMark},
	} {
		if !reflect.DeepEqual(f.old, f.next) {
			return fmt.Errorf("%s is %v with the daemon that runs and %v with the next, which takes a restart (systemctl restart outwarden; established flows drain first)", f.key, f.old, f.next)
		}
	}
	return nil
}

// handOver gives a successor what we have, and reports whether it serves now.
// Until it does we go on, and if it fails we take our duties up again; an error
// is that we can't.
func (d *Daemon) handOver(s *successor) (relieved bool, err error) {
	defer d.aliveFor(handoverLongest)()
	d.unwatchNamespaces() // all listeners there will be are offered
	d.tables.hold(true)   // the successor puts its own in place
	offer, err := d.offer()
	if err == nil {
		defer func() { closeAll(offer.files) }()
		err = s.sendAll(offer)
	}
	if err == nil {
		err = s.await(stepReady, handoverPatience)
	}
	if err != nil {
		d.handoverFailed(s, err)
		d.watchNamespaces()
		return false, nil
	}
	d.leaveDuties()
	if err := d.yield(s); err != nil {
		s.end(err)
		d.inherited.control = offer.take(isControl)
		d.handoverFailed(s, err)
		return false, d.resumeDuties()
	}
	next := newRemote(s.line)
	d.records.moveTo(next)
	if d.signing.seen != nil {
		d.signing.seen.HandTo(next.accept)
	}
	d.relieved, d.heir = true, s
	select {
	case d.heirs <- s:
	default: // nobody asked us
	}
	return true, nil
}

// yield waits until the successor has our duties. The service manager learns who
// is the main process now before that can say that it is ready.
func (d *Daemon) yield(s *successor) error {
	if err := s.send(&message{Step: stepYours}); err != nil {
		return err
	}
	if err := s.await(stepServing, handoverPatience); err != nil {
		return err
	}
	d.notify(fmt.Sprintf("MAINPID=%d", s.pid))
	return s.send(&message{Step: stepLeaving})
}

// handoverFailed says so, here and to whoever asked for the upgrade.
func (d *Daemon) handoverFailed(s *successor, err error) {
	d.tables.hold(false)
	d.failHandover(err) // before the successor ends, which the one who asked waits for
	_ = s.send(&message{Failed: err.Error()})
	s.close()
	d.report("hand over", d.restorePorts())
	d.o.Log.WithError(err).WithField("pid", s.pid).Error("the successor did not take over; we go on")
}

// restorePorts captures our ports again; the successor began with its own.
func (d *Daemon) restorePorts() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.capture.SetPorts(d.loaded.config.Capture.Ports)
}

// end makes sure that a successor that does not answer will not come to itself
// once we have taken our duties up again.
func (s *successor) end(why error) {
	if errors.Is(why, os.ErrDeadlineExceeded) {
		_ = unix.Kill(s.pid, unix.SIGKILL) // the line is open, so the pid is still its own
	}
	for why = nil; why == nil; {
		_, why = s.receive(handoverPatience) // until the kernel has closed its end
	}
}

// offer is everything that a successor takes over, as duplicates.
func (d *Daemon) offer() (*message, error) {
	m := &message{}
	add := func(what string, f *os.File, err error) error {
		if err == nil {
			m.Descriptors, m.files = append(m.Descriptors, what), append(m.files, f)
		}
		return err
	}
	lock, err1 := duplicate(d.lock)
	pins, err2 := duplicate(d.capture.Lock())
	socket, err3 := d.control.File()
	next, err4 := d.handover.File()
	err := errors.Join(add(isLock, lock, err1), add(isPins, pins, err2), add(isControl, socket, err3), add(isHandover, next, err4))
	for _, l := range d.listeners.all() {
		f, failed := l.File()
		err = errors.Join(err, add(isListener, f, failed))
	}
	if err != nil {
		closeAll(m.files)
		return nil, err
	}
	return m, nil
}

// take takes a descriptor out; it is not closed with the others.
func (m *message) take(what string) *os.File {
	for i, name := range m.Descriptors {
		if name == what {
			f := m.files[i]
			m.Descriptors, m.files = append(m.Descriptors[:i:i], m.Descriptors[i+1:]...), append(m.files[:i:i], m.files[i+1:]...)
			return f
		}
	}
	return nil
}

func duplicate(f *os.File) (copied *os.File, err error) {
	err = onFD(f, func(fd int) error {
		fd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			copied = os.NewFile(uintptr(fd), f.Name())
		}
		return os.NewSyscallError("fcntl", err)
	})
	return copied, err
}
