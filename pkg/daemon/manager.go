package daemon

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/outwarden/outwarden/pkg/handover"
	"github.com/outwarden/outwarden/pkg/process"
)

// managerSocket is where the service manager wants to hear from us, in the
// environment; unset: there is none.
const managerSocket = "NOTIFY_SOCKET"

func (d *Daemon) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		d.o.Log.WithError(err).Warn("service manager")
	}
}

// manager is the notification socket of the service manager; "" if there is none
// that would keep sockets for us.
func (d *Daemon) manager() string {
	if d.o.Ephemeral {
		return ""
	}
	return os.Getenv(managerSocket)
}

// store gives the service manager our sockets to keep until the daemon after us
// comes, however we end: connects wait in their queues meanwhile. If none comes it
// closes them, and the fail policy answers. Those of other network namespaces come
// and go with them; see storeSet.
func (d *Daemon) store() {
	socket := d.manager()
	if socket == "" {
		return
	}
	files := &handover.Files{}
	defer files.Close()
	failed := []error{files.Add(handover.KindControl, d.control.File)}
	for _, l := range d.listeners.home().sockets {
		failed = append(failed, files.Add(handover.KindListener, l.File))
	}
	for _, l := range d.guests.sockets {
		failed = append(failed, files.Add(handover.KindGuest, l.File))
	}
	err := errors.Join(append(failed, handover.Store(socket, files))...)
	d.stored = err == nil
	d.report("store sockets with the service manager", err)
}

// storeSet does the same with the listeners in another network namespace. They keep
// it alive, so they are to be let go of with unstoreSet. A manager whose store is
// full does not say so: that namespace has the fail policy during a restart.
func (d *Daemon) storeSet(ns process.Netns, s *set) {
	socket := d.manager()
	if socket == "" {
		return
	}
	files := &handover.Files{}
	defer files.Close()
	var failed []error
	for _, l := range s.sockets {
		failed = append(failed, files.Add(handover.ListenerIn(ns), l.File))
	}
	d.report("store sockets with the service manager", errors.Join(append(failed, handover.Store(socket, files))...))
}

func (d *Daemon) unstoreSet(ns process.Netns) {
	if socket := d.manager(); socket != "" {
		d.report("take sockets back from the service manager", handover.Unstore(socket, handover.ListenerIn(ns)))
	}
}

// watchdog is when to tell the service manager that we live, twice as often as it
// wants to hear it. The goroutine of Run does: a daemon that hangs is replaced by
// one that does not.
func watchdog() (<-chan time.Time, func()) {
	every, err := sd.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		return nil, func() {}
	}
	tick := time.NewTicker(every / 2)
	return tick.C, tick.Stop
}

// aliveFor tells it meanwhile that we live, until stop, where that goroutine is
// about to wait for others. What takes longer than its patience hangs.
func (d *Daemon) aliveFor(patience time.Duration) (stop func()) {
	alive, stopTicks := watchdog()
	if alive == nil {
		return stopTicks
	}
	d.notify(sd.SdNotifyWatchdog) // the last one may be half of the time ago
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-alive:
				d.notify(sd.SdNotifyWatchdog)
			}
		}
	})
	return func() { cancel(); work.Wait(); stopTicks() }
}

// drain lets established flows end. As long as we have the listeners and somebody
// comes after us, new ones are served meanwhile, so that they need not wait for
// the old ones.
func (d *Daemon) drain() {
	if d.stored && !d.relieved {
		ctx, cancel := context.WithTimeout(context.Background(), d.atStart.Drain)
		d.proxy.Settle(ctx)
		cancel()
	}
	d.listeners.close()
	d.guests.close()
	d.report("drain", d.proxy.Close())
}
