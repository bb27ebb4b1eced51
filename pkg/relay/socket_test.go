package relay_test

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/relay"
)

// TestSource: the far end is bound to the address that was asked for, and only
// if this host has it.
func TestSource(t *testing.T) {
	w := newWorld(t)
	marked := 0
	far, err := relay.Dial(netip.MustParseAddr("127.0.0.9"), addrOf(w.server), true, func(socket int) error {
		marked = socket
		return nil
	})
	must(t, err)
	c, err := w.server.AcceptTCP()
	must(t, err)
	if a := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); a.String() != "127.0.0.9" || marked != far {
		t.Errorf("from %v, socket %d marked of %d", a, marked, far)
	}
	if p, err := unix.GetsockoptInt(far, unix.SOL_SOCKET, unix.SO_PROTOCOL); p != unix.IPPROTO_TCP || err != nil {
		t.Errorf("protocol %d, %v", p, err)
	}
	relay.End{Socket: far}.Reset()
	wantBroken(t, c)
	_ = c.Close()
	for _, from := range []string{"192.0.2.1", "::1"} {
		if _, err := relay.Dial(netip.MustParseAddr(from), addrOf(w.server), false, nil); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("from %s: %v", from, err)
		}
	}
	broken := errors.New("no mark")
	if _, err := relay.Dial(netip.Addr{}, addrOf(w.server), false, func(int) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
}
