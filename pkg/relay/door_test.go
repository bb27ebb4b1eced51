package relay_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/relay"
)

// TestDoorAccepts: a connection tells where it came in and from where, whatever its
// listener is bound to, and sends what is written at once, also one that was there
// before the door.
func TestDoorAccepts(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"} {
		w := newWorld(t)
		l, err := net.Listen("tcp", at)
		must(t, err)
		defer l.Close()
		_, port, err := net.SplitHostPort(l.Addr().String())
		must(t, err)
		for _, host := range reached(l.Addr().(*net.TCPAddr).IP) {
			before, err := net.Dial("tcp", net.JoinHostPort(host, port))
			must(t, err)
			door, err := w.relay.Open(l.(*net.TCPListener))
			must(t, err)
			wantAccepted(t, door, before)
			if _, ok, err := door.Accept(); ok || err != nil {
				t.Errorf("accepted another: %t, %v", ok, err)
			}
			after, err := net.Dial("tcp", net.JoinHostPort(host, port))
			must(t, err)
			wantAccepted(t, door, after)
			door.Close()
		}
	}
}

// wantAccepted takes c in by a door, and ends it.
func wantAccepted(t *testing.T, door *relay.Door, c net.Conn) {
	t.Helper()
	a := accept(t, door)
	if a.Remote.String() != c.LocalAddr().String() || a.Local.String() != c.RemoteAddr().String() {
		t.Errorf("accepted %v at %v of %v to %v", a.Remote, a.Local, c.LocalAddr(), c.RemoteAddr())
	}
	if on, err := unix.GetsockoptInt(a.Socket, unix.IPPROTO_TCP, unix.TCP_NODELAY); on == 0 || err != nil {
		t.Errorf("TCP_NODELAY is %d, %v", on, err)
	}
	relay.End{Socket: a.Socket}.Reset()
	must(t, c.Close())
}

// reached are addresses at which a listener is reached that is bound to ip.
func reached(ip net.IP) []string {
	switch {
	case !ip.IsUnspecified():
		return []string{ip.String()}
	case ip.To4() != nil:
		return []string{"127.0.0.1", "127.0.0.2"}
	}
	return []string{"::1", "127.0.0.1"}
}

func accept(t testing.TB, door *relay.Door) relay.Accepted {
	t.Helper()
	for {
		a, ok, err := door.Accept()
		must(t, err)
		if ok {
			return a
		}
		select {
		case <-door.Ready():
		case <-time.After(patience):
			t.Fatal("nobody came")
		}
	}
}

// TestDoorOfClosedListener: nothing is accepted for an owner who has closed.
func TestDoorOfClosedListener(t *testing.T) {
	w := newWorld(t)
	door, err := w.relay.Open(w.front)
	must(t, err)
	must(t, w.front.Close())
	if _, ok, err := door.Accept(); ok || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, %v", ok, err)
	}
	door.Close()
}
