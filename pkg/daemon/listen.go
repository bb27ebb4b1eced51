package daemon

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/capture"
	"github.com/outwarden/outwarden/pkg/config"
)

// listenPorts is how many ports we listen on where the configuration names
// none. Redirected connections of one workload address share one destination,
// so each port adds another range of source ports.
const listenPorts = 4

// loopback are the addresses that we listen on. A host without IPv6 has only the
// first.
var loopback = [...]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}

// openListeners attaches the hooks and opens the home set that they redirect to:
// sockets that a daemon before us left, and for the rest new ones. The hooks come
// first, as they keep everybody else from our ports.
func (d *Daemon) openListeners(ctx context.Context) error {
	const tries = 8
	d.later(d.closeCapture)
	d.later(d.listeners.close)
	for n := 1; ; n++ {
		ports := d.choosePorts()
		if err := d.openCapture(ports); err != nil {
			return err
		}
		home, err := d.listen(ctx, ports)
		if err == nil {
			d.listeners.add(home) // which closes it from now on
			if err := d.openTable(); err != nil {
				return err
			}
			return tag(d.capture, home)
		}
		if n == tries || len(d.atStart.Capture.Listen) > 0 || !isTaken(err) {
			return unlessTaken(err)
		}
		d.closeCapture() // somebody has one of the ports that we chose
	}
}

// isTaken reports whether a port is somebody's: who stands on it, or another daemon
// whose hooks keep it.
func isTaken(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EPERM)
}

// unlessTaken tells what to do about a port that is somebody's.
func unlessTaken(err error) error {
	if !isTaken(err) {
		return err
	}
	return advised{err, "outwarden doctor tells who has it; stop that, or name other ports in capture.listen"}
}

// choosePorts are those of the configuration, else those of the sockets that we
// have already, else some that nobody is given unasked.
func (d *Daemon) choosePorts() []uint16 {
	if ports := d.atStart.Capture.Listen; len(ports) > 0 {
		return ports
	}
	if ports := d.inherited.Ports(); len(ports) > 0 {
		return ports[:min(len(ports), capture.MaxListeners)]
	}
	low, high := ownRange()
	var ports []uint16
	for len(ports) < listenPorts {
		if p := uint16(low + rand.IntN(high-low+1)); !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	slices.Sort(ports)
	return ports
}

// ownRange is where no outgoing connection gets its port: one of those could stand
// on ours at the moment of a restart, and no bind hook sees it.
func ownRange() (low, high int) {
	const enough, first, last = 256, 1024, 1<<16 - 1
	var from, to int
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		_, err = fmt.Sscan(string(text), &from, &to)
	}
	switch {
	case err == nil && last-to >= enough:
		return to + 1, last
	case err == nil && from-first >= enough:
		return max(first, from-4*enough), from - 1
	}
	return first, last
}

// addresses are the ports on both loopback addresses.
func addresses(ports []uint16) (all []netip.AddrPort) {
	for _, ip := range loopback {
		for _, port := range ports {
			all = append(all, netip.AddrPortFrom(ip, port))
		}
	}
	return all
}

// listen gives the home set: the listeners that we have already, and the rest.
func (d *Daemon) listen(ctx context.Context, ports []uint16) (*set, error) {
	home := &set{}
	for _, a := range addresses(ports) {
		l := d.inherited.TakeListener(a)
		if l == nil {
			var err error
			if l, err = listenOn(ctx, a, d.mark); err != nil && a.Addr().Is6() && noIPv6(err) {
				continue
			} else if err != nil {
				home.close()
				return nil, err
			}
		}
		home.sockets = append(home.sockets, l)
	}
	return home, nil
}

// listenIn opens a set in another network namespace, on the addresses of the
// home set. What somebody there stands on already is left to him: the hooks see
// that it has no tag, and take another. The error tells which those are; it is
// fatal where no socket could be opened.
func listenIn(ctx context.Context, netns *os.File, addrs []netip.AddrPort, mark controlFunc) (*set, error) {
	s := &set{}
	var failed []error
	err := capture.In(netns, func() error {
		for _, a := range addrs {
			l, err := listenOn(ctx, a, mark, bindAnyway)
			switch {
			case err == nil:
				s.sockets = append(s.sockets, l)
			case !noIPv6(err):
				failed = append(failed, err)
			}
		}
		return nil
	})
	return s, errors.Join(append(failed, err)...)
}

// bindAnyway lets a socket have its address before the namespace does: the
// loopback of a new one is down.
func bindAnyway(network, _ string, rc syscall.RawConn) error {
	level, option := unix.SOL_IP, unix.IP_FREEBIND
	if network == "tcp6" {
		level, option = unix.SOL_IPV6, unix.IPV6_FREEBIND
	}
	var failed error
	err := rc.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, 1) })
	return errors.Join(err, os.NewSyscallError("setsockopt FREEBIND", failed))
}

// listenOn opens a listener in the thread's network namespace. Something before it
// binds gives it our mark, without which the hooks would keep us from the port too;
// it does not stay, as connections would inherit it.
func listenOn(ctx context.Context, a netip.AddrPort, before ...controlFunc) (*net.TCPListener, error) {
	lc := net.ListenConfig{
		KeepAlive: -1, // who connects is on this host: its kernel never leaves without a word
		Control: func(network, address string, rc syscall.RawConn) error {
			var failed []error
			for _, f := range before {
				failed = append(failed, f(network, address, rc))
			}
			return errors.Join(failed...)
		},
	}
	lc.SetMultipathTCP(false) // an MPTCP listener hides the tuple that the hooks published
	l, err := lc.Listen(ctx, "tcp", a.String())
	if err != nil {
		return nil, fmt.Errorf("open listener: %w", err)
	}
	tcp := l.(*net.TCPListener)
	if err := onFD(tcp, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 0) }); err != nil {
		_ = tcp.Close()
		return nil, err
	}
	return tcp, nil
}

// onFD calls f with the descriptor of c.
func onFD(c syscall.Conn, f func(fd int) error) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = rc.Control(func(fd uintptr) { failed = f(int(fd)) })
	return errors.Join(err, failed)
}

func noIPv6(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
}

// openCapture attaches the hooks.
func (d *Daemon) openCapture(ports []uint16) error {
	c := d.loaded.config.Capture
	_, before := os.Stat(d.pins())
	hooks, err := capture.Open(capture.Config{
		PinDir: d.pins(), Ports: c.Ports, Listen: addresses(ports), FailOpen: c.FailOpen, AllowRaw: c.AllowRaw, Mark: c.Mark, Redirect: redirectMark(&c),
		Held: d.inherited.TakePins(),
	})
	if errors.Is(err, capture.ErrInUse) {
		return unlessUsed(err)
	}
	if err != nil {
		return advised{err, "outwarden doctor tells what this host lacks, and what to do about it"}
	}
	d.capture, d.pinned = hooks, d.pinned || before == nil
	return nil
}

// tag makes a set known to the hooks.
func tag(hooks *capture.Capture, s *set) error {
	for _, l := range s.sockets {
		netns, err := hooks.TagListener(l)
		if err != nil {
			return err
		}
		s.netns = netns
	}
	return nil
}

// closeCapture leaves the hooks to the fail policy once we have served, unless
// nobody is in scope any more who could need them. A start that failed removes
// them if they were not there before it.
func (d *Daemon) closeCapture() {
	if d.capture == nil {
		return
	}
	d.report("kernel hooks", d.capture.Close())
	if d.started && !d.scopes.leave() || !d.started && d.pinned {
		return
	}
	_, err := capture.Detach(d.pins())
	d.report("kernel hooks", err)
	if d.atStart.Capture.Backend != config.Rewrite {
		_, err := removeTables(d.pins())
		d.report("nftables", err)
	}
}
