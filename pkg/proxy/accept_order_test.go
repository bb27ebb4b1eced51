package proxy_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/policy"
)

// TestRecordOfTheFirst: a workload connects and resets, and before either is
// accepted another dials us from the same port. The record is the first one's;
// the other is nobody.
func TestRecordOfTheFirst(t *testing.T) {
	const pairs = 32
	w := newWorld(t)
	w.use(policy.Passthrough)
	o := w.originFor(func(c net.Conn) { // who gets here has a record
		_, _ = io.WriteString(c, "welcome")
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	impostors := make([]*net.TCPConn, pairs)
	for i := range impostors {
		from := reserve(t)
		first := dialFrom(t, from, l.Addr().String())
		w.flows.add(flow.Flow{
			Cookie: uint64(i + 1), Source: from, Original: o.addr, Verdict: flow.VerdictRedirect, Caller: flow.Caller{PID: appPID},
		})
		must(t, first.SetLinger(0))
		must(t, first.Close())
		impostors[i] = dialFrom(t, from, l.Addr().String())
		_, err := io.WriteString(impostors[i], "\x00opaque")
		must(t, err)
	}
	served := make(chan error, 1)
	go func() { served <- w.proxy.Serve(l.(*net.TCPListener), 0, nil) }()
	for i, c := range impostors {
		if said, err := io.ReadAll(c); err == nil || len(said) > 0 {
			t.Errorf("impostor %d reads %q, %v; want a reset", i, said, err)
		}
	}
	must(t, l.Close())
	must(t, <-served)
}

// reserve takes a port that is for sockets with SO_REUSEADDR alone while the test
// runs. Listeners of hooks that are tested elsewhere on this host may have its number
// in a namespace of theirs; then nobody may ask for it by name, and it takes another.
func reserve(t *testing.T) netip.AddrPort {
	t.Helper()
	for {
		from := bound(t, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0))
		if again := bound(t, from); again == from {
			return from
		}
	}
}

// bound binds a socket that stays until the test ends, and returns its address; the
// zero one where it may not.
func bound(t *testing.T, at netip.AddrPort) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	err = unix.Bind(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())})
	if errors.Is(err, unix.EPERM) {
		return netip.AddrPort{}
	}
	must(t, err)
	sa, err := unix.Getsockname(fd)
	must(t, err)
	return netip.AddrPortFrom(at.Addr(), uint16(sa.(*unix.SockaddrInet4).Port))
}

// dialFrom connects from a reserved port.
func dialFrom(t *testing.T, from netip.AddrPort, to string) *net.TCPConn {
	t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from), Control: func(_, _ string, rc syscall.RawConn) error {
		var failed error
		err := rc.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
		return errors.Join(err, os.NewSyscallError("setsockopt SO_REUSEADDR", failed))
	}}
	c, err := d.DialContext(context.Background(), "tcp", to)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}
