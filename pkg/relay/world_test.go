package relay_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outwarden/outwarden/pkg/relay"
)

const patience = 10 * time.Second

// world is a relay between a workload and a server of the test.
type world struct {
	t      testing.TB
	relay  *relay.Relay
	server *net.TCPListener // where far ends are accepted
	front  *net.TCPListener // where near ends are accepted
}

func newWorld(t testing.TB) *world {
	t.Helper()
	must(t, listen(t).Close()) // the first one makes the runtime's poller, which has two descriptors
	ignore, descriptors := goleak.IgnoreCurrent(), open(t)
	w := &world{t: t, relay: relay.New(2), server: listen(t), front: listen(t)}
	t.Cleanup(func() {
		w.relay.Close()
		_ = w.server.Close()
		_ = w.front.Close()
		goleak.VerifyNone(t, ignore)
		if n := open(t); n > descriptors {
			t.Errorf("%d descriptors, %d before", n, descriptors)
		}
	})
	return w
}

// open counts the descriptors of this process.
func open(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(list)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func listen(t testing.TB) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	return l
}

func addrOf(l *net.TCPListener) netip.AddrPort { return l.Addr().(*net.TCPAddr).AddrPort() }

// pair is one connection through the relay, seen from its ends.
type pair struct {
	workload, server *net.TCPConn
	result           chan relay.Result
}

// connect makes a connection whose near end has said so much before.
func (w *world) connect(said string) *pair {
	w.t.Helper()
	p, _ := w.within(patience, said, said != "")
	return p
}

// lasting makes one that has lasted after a second, and gives the socket of its far end.
func (w *world) lasting(said string) (p *pair, far int) {
	w.t.Helper()
	return w.within(time.Second, said, false)
}

func (w *world) within(connect time.Duration, said string, speaks bool) (p *pair, far int) {
	w.t.Helper()
	p = &pair{result: make(chan relay.Result, 1)}
	near := w.near(p)
	far, err := relay.Dial(netip.Addr{}, addrOf(w.server), speaks, nil)
	must(w.t, err)
	go func() {
		p.result <- w.relay.Run(relay.End{Socket: near, Said: []byte(said)}, relay.End{Socket: far}, connect)
	}()
	p.server, err = w.server.AcceptTCP()
	must(w.t, err)
	w.t.Cleanup(func() { _ = p.server.Close() })
	must(w.t, p.server.SetDeadline(time.Now().Add(patience)))
	return p, far
}

// near connects the workload and takes the socket that was accepted.
func (w *world) near(p *pair) int {
	w.t.Helper()
	c, err := net.Dial("tcp", w.front.Addr().String())
	must(w.t, err)
	p.workload = c.(*net.TCPConn)
	w.t.Cleanup(func() { _ = c.Close() })
	must(w.t, c.SetDeadline(time.Now().Add(patience)))
	accepted, err := w.front.AcceptTCP()
	must(w.t, err)
	must(w.t, accepted.SetKeepAlive(false)) // as the daemon's listeners have it
	near, err := relay.Take(accepted)
	must(w.t, err)
	return near
}

func (p *pair) want(t testing.TB, sent, received int64) {
	t.Helper()
	select {
	case r := <-p.result:
		if r.Err != nil || !r.Connected || r.Sent != sent || r.Received != received {
			t.Errorf("%+v, want %d sent and %d received", r, sent, received)
		}
	case <-time.After(patience):
		t.Fatal("not over")
	}
}

// byEither runs a test twice: the workload is who does something first, and the server.
func byEither(t *testing.T, f func(t *testing.T, p *pair, first, second *net.TCPConn)) {
	t.Run("workload", func(t *testing.T) { p := newWorld(t).connect(""); f(t, p, p.workload, p.server) })
	t.Run("server", func(t *testing.T) { p := newWorld(t).connect(""); f(t, p, p.server, p.workload) })
}

// wantBroken reads the end of what broke: a reset, never a clean end.
func wantBroken(t testing.TB, c net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %v, want a reset", err)
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}
