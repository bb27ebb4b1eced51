package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// managerSocket is where the service manager wants to hear from us, in the
// environment; unset: there is none.
const managerSocket = "NOTIFY_SOCKET"

func (d *Daemon) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		d.o.Log.WithError(err).Warn("service manager")
	}
}

// store gives the service manager our sockets to keep until the daemon after us
// comes, however we end: connects wait in their queues meanwhile. If none comes it
// closes them, and the fail policy answers. Sockets of other network namespaces
// are not among them, as they would keep the namespace alive.
func (d *Daemon) store() {
	if d.o.Ephemeral || os.Getenv(managerSocket) == "" {
		return
	}
	socket, err := d.control.File()
	if err == nil {
		err = storeAs(isControl, socket)
	}
	for _, l := range d.listeners.home().sockets {
		f, failed := l.File()
		if failed == nil {
			failed = storeAs(isListener, f)
		}
		err = cmp.Or(err, failed)
	}
	d.stored = err == nil
	d.report("store sockets with the service manager", err)
}

// storeAs hands one descriptor to the service manager, and closes it here.
func storeAs(name string, f *os.File) error {
	defer f.Close()
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: os.Getenv(managerSocket)})
	if err != nil {
		return err
	}
	defer conn.Close()
	rc, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return withFDs([]*os.File{f}, nil, func(fds []int) error {
		var failed error
		err := rc.Write(func(fd uintptr) bool { // WriteMsgUnix takes no connected datagram socket
			failed = unix.Sendmsg(int(fd), fmt.Appendf(nil, "FDSTORE=1\nFDNAME=%s", name), unix.UnixRights(fds...), nil, 0)
			return failed != unix.EAGAIN
		})
		return errors.Join(err, os.NewSyscallError("sendmsg", failed))
	})
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
		ctx, cancel := context.WithTimeout(context.Background(), d.loaded.config.Drain)
		d.proxy.Settle(ctx)
		cancel()
	}
	d.listeners.close()
	d.guests.close()
	d.report("drain", d.proxy.Close())
}
