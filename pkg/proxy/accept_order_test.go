package proxy_test

import (
	"context"
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
		first := dialFrom(t, netip.AddrPort{}, l.Addr().String())
		from := netip.MustParseAddrPort(first.LocalAddr().String())
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

// dialFrom connects from an address and a port that are free again.
func dialFrom(t *testing.T, from netip.AddrPort, to string) *net.TCPConn {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, rc syscall.RawConn) error {
		var failed error
		err := rc.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
		if err == nil {
			err = os.NewSyscallError("setsockopt SO_REUSEADDR", failed)
		}
		return err
	}}
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(from)
	}
	c, err := d.DialContext(context.Background(), "tcp", to)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}
