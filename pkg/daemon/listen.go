package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/capture"
)

// listenPorts is how many ports we listen on where the configuration names
// none. Redirected connections of one workload address share one destination,
// so each port adds another range of source ports.
const listenPorts = 4

// listen opens the home set on both loopback addresses. A host without IPv6 has
// only the first half.
func (d *Daemon) listen(ctx context.Context) error {
	d.later(d.listeners.close)
	home := &set{}
	d.listeners.add(home)
	ports := d.loaded.config.Capture.Listen
	if len(ports) == 0 {
		ports = make([]uint16, listenPorts)
	}
	lc := listenConfig()
	for _, port := range ports {
		if err := home.listen(ctx, lc, "127.0.0.1", port); err != nil {
			return err
		}
		if err := home.listen(ctx, lc, "::1", port); err != nil && !noIPv6(err) {
			return err
		}
	}
	return nil
}

func listenConfig() *net.ListenConfig {
	lc := &net.ListenConfig{KeepAlive: -1} // who connects is on this host: its kernel never leaves without a word
	lc.SetMultipathTCP(false)              // an MPTCP listener hides the tuple that the hooks published
	return lc
}

// listenIn opens a set in another network namespace, on the addresses of the
// home set. What somebody there stands on already is left to him: the hooks see
// that it has no tag, and take another. The error tells which those are; it is
// fatal where no socket could be opened.
func listenIn(ctx context.Context, netns *os.File, addrs []netip.AddrPort) (*set, error) {
	s := &set{}
	lc := listenConfig()
	lc.Control = bindAnyway
	var failed []error
	err := capture.In(netns, func() error {
		for _, a := range addrs {
			if err := s.listen(ctx, lc, a.Addr().String(), a.Port()); err != nil && !noIPv6(err) {
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

// listen opens one more listener. The set is not in use yet.
func (s *set) listen(ctx context.Context, lc *net.ListenConfig, host string, port uint16) error {
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		return fmt.Errorf("open listener: %w", err)
	}
	s.sockets = append(s.sockets, l.(*net.TCPListener))
	return nil
}

func noIPv6(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
}

// openCapture attaches the hooks and makes the listeners known to them.
func (d *Daemon) openCapture(context.Context) error {
	c := d.loaded.config.Capture
	pins := d.pins()
	_, before := os.Stat(pins)
	hooks, err := capture.Open(capture.Config{
		PinDir: pins, Ports: c.Ports, Listen: d.listeners.addrs(), FailOpen: c.FailOpen, Mark: c.Mark,
	})
	if err != nil {
		return err
	}
	d.capture = hooks
	d.later(func() { d.letGo(hooks, pins, before == nil) })
	return tag(hooks, d.listeners.home())
}

// tag makes a set known to the hooks.
func tag(hooks *capture.Capture, s *set) (err error) {
	for _, l := range s.sockets {
		if s.netns, err = hooks.TagListener(l); err != nil {
			return err
		}
	}
	return nil
}

// letGo leaves the hooks to the fail policy once we have served, unless nobody
// is in scope any more who could need them. A start that failed removes them if
// they were not there before it.
func (d *Daemon) letGo(hooks *capture.Capture, pins string, existed bool) {
	d.report("kernel hooks", hooks.Close())
	if d.started && !d.scopes.leave() || !d.started && existed {
		return
	}
	_, err := capture.Detach(pins)
	d.report("kernel hooks", err)
}
