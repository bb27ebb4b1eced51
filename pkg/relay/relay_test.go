package relay_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

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
	p := &pair{result: make(chan relay.Result, 1)}
	near := w.near(p)
	far, err := relay.Dial(netip.Addr{}, addrOf(w.server), said != "", nil)
	must(w.t, err)
	go func() {
		p.result <- w.relay.Run(relay.End{Socket: near, Said: []byte(said)}, relay.End{Socket: far}, patience)
	}()
	p.server, err = w.server.AcceptTCP()
	must(w.t, err)
	w.t.Cleanup(func() { _ = p.server.Close() })
	must(w.t, p.server.SetDeadline(time.Now().Add(patience)))
	return p
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

// TestBothWays carries little and much, both ways at once, byte for byte.
func TestBothWays(t *testing.T) {
	for _, n := range []int{0, 1, 5000, 64 << 10, 64<<10 + 1, 3 << 20, 40 << 20} {
		w := newWorld(t)
		p := w.connect("hello ")
		up, down := noise(n), noise(n+7)
		var wg sync.WaitGroup
		for c, b := range map[*net.TCPConn][]byte{p.workload: up, p.server: down} {
			wg.Go(func() {
				_, _ = c.Write(b)
				_ = c.CloseWrite()
			})
		}
		for c, b := range map[*net.TCPConn][]byte{p.workload: down, p.server: append([]byte("hello "), up...)} {
			wg.Go(func() {
				if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, b) {
					t.Errorf("%d bytes: got %d of %d, %v", n, len(got), len(b), err)
				}
			})
		}
		wg.Wait()
		p.want(t, int64(n+6), int64(n+7))
	}
}

// TestConversation: each side waits for the other's word.
func TestConversation(t *testing.T) {
	w := newWorld(t)
	p := w.connect("")
	b := make([]byte, 100)
	for i := range 1000 {
		from, to := p.workload, p.server
		if i%2 > 0 {
			from, to = to, from
		}
		_, err := from.Write(noise(100))
		must(t, err)
		if _, err := io.ReadFull(to, b); err != nil || !bytes.Equal(b, noise(100)) {
			t.Fatal(i, err)
		}
	}
	must(t, p.server.Close())
	must(t, p.workload.CloseWrite())
	p.want(t, 50000, 50000)
}

// TestHalfClose: a side that has ended still hears what the other says, whichever
// of them ends first.
func TestHalfClose(t *testing.T) {
	for _, workloadFirst := range []bool{true, false} {
		w := newWorld(t)
		p := w.connect("")
		first, second := p.workload, p.server
		if !workloadFirst {
			first, second = second, first
		}
		must(t, first.CloseWrite())
		if _, err := second.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read %v, want the end", err)
		}
		for range 3 {
			_, err := second.Write([]byte("more"))
			must(t, err)
			b := make([]byte, 4)
			if _, err := io.ReadFull(first, b); err != nil {
				t.Errorf("after the end: %v", err)
			}
		}
		must(t, second.CloseWrite())
		if _, err := first.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read %v, want the end", err)
		}
		if workloadFirst {
			p.want(t, 0, 12)
		} else {
			p.want(t, 12, 0)
		}
	}
}

// TestBrokenSide: a reset is passed on as one, also behind bytes that look whole.
func TestBrokenSide(t *testing.T) {
	for _, workload := range []bool{true, false} {
		w := newWorld(t)
		p := w.connect("")
		broken, other := p.workload, p.server
		if !workload {
			broken, other = other, broken
		}
		_, err := broken.Write([]byte("half a mess"))
		must(t, err)
		_, err = io.ReadFull(other, make([]byte, 11))
		must(t, err)
		must(t, broken.SetLinger(0))
		must(t, broken.Close())
		wantBroken(t, other)
		if r := <-p.result; !errors.Is(r.Err, syscall.ECONNRESET) || r.Sent+r.Received != 11 {
			t.Errorf("%+v", r)
		}
	}
}

// TestSlowReader: what a reader does not take stays with the writer.
func TestSlowReader(t *testing.T) {
	w := newWorld(t)
	p := w.connect("")
	must(t, p.server.SetReadBuffer(64<<10))
	must(t, p.workload.SetWriteBuffer(64<<10))
	data := noise(1 << 20)
	must(t, p.workload.SetWriteDeadline(time.Now().Add(time.Second)))
	written := 0
	for {
		n, err := p.workload.Write(data)
		if written += n; err != nil {
			break
		}
		if written > 64<<20 {
			t.Fatal("never stopped")
		}
	}
	must(t, p.workload.CloseWrite())
	if n, err := io.Copy(io.Discard, p.server); n != int64(written) || err != nil {
		t.Errorf("%d bytes came of %d, %v", n, written, err)
	}
	must(t, p.server.Close())
	p.want(t, int64(written), 0)
}

// TestServerSaid: what was read from the far end before comes first.
func TestServerSaid(t *testing.T) {
	w := newWorld(t)
	p := &pair{result: make(chan relay.Result, 1)}
	near := w.near(p)
	socket, err := relay.Dial(netip.Addr{}, addrOf(w.server), false, nil)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	f, err := relay.Connected(ctx, socket)
	must(t, err)
	far, err := relay.Take(f)
	must(t, err)
	go func() {
		p.result <- w.relay.Run(relay.End{Socket: near}, relay.End{Socket: far, Said: []byte("220 ")}, patience)
	}()
	server, err := w.server.AcceptTCP()
	must(t, err)
	_, err = server.Write([]byte("ready"))
	must(t, err)
	must(t, server.Close())
	if got, err := io.ReadAll(p.workload); string(got) != "220 ready" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	must(t, p.workload.Close())
	p.want(t, 0, 9)
}

// TestNoServer: refused, or no answer in time; the workload is reset.
func TestNoServer(t *testing.T) {
	silent, full := silentServer(t)
	for name, c := range map[string]struct {
		to   netip.AddrPort
		want error
	}{
		"refused":   {deadAddr(t), syscall.ECONNREFUSED},
		"no answer": {silent, os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := &pair{}
			near := w.near(p)
			far, err := relay.Dial(netip.Addr{}, c.to, false, nil)
			if err != nil { // loopback may tell at once
				relay.End{Socket: near}.Reset()
			} else {
				r := w.relay.Run(relay.End{Socket: near, Said: []byte("x")}, relay.End{Socket: far}, 100*time.Millisecond)
				if err = r.Err; r.Connected || r.Sent > 0 {
					t.Errorf("%+v", r)
				}
			}
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			wantBroken(t, p.workload)
		})
		t.Run(name+", awaited", func(t *testing.T) {
			far, err := relay.Dial(netip.Addr{}, c.to, false, nil)
			if err == nil {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				_, err = relay.Connected(ctx, far)
			}
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	full()
}

func deadAddr(t testing.TB) netip.AddrPort {
	t.Helper()
	l := listen(t)
	must(t, l.Close())
	return addrOf(l)
}

// silentServer has a full backlog, so that a SYN gets no answer.
func silentServer(t testing.TB) (_ netip.AddrPort, end func()) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	must(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, unix.Listen(fd, 0))
	name, err := unix.Getsockname(fd)
	must(t, err)
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(name.(*unix.SockaddrInet4).Port))
	c, err := net.Dial("tcp", addr.String())
	must(t, err)
	return addr, func() {
		_ = c.Close()
		_ = unix.Close(fd)
	}
}

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

// TestClose resets what is under way, and what comes later.
func TestClose(t *testing.T) {
	w := newWorld(t)
	connected := w.connect("")
	_, err := connected.workload.Write([]byte("x"))
	must(t, err)
	_, err = io.ReadFull(connected.server, make([]byte, 1))
	must(t, err)
	w.relay.Close()
	wantBroken(t, connected.workload)
	wantBroken(t, connected.server)
	if r := <-connected.result; !errors.Is(r.Err, relay.ErrClosed) || !r.Connected || r.Sent != 1 {
		t.Errorf("%+v", r)
	}
	late := w.connect("")
	wantBroken(t, late.workload)
	wantBroken(t, late.server)
	if r := <-late.result; !errors.Is(r.Err, relay.ErrClosed) {
		t.Errorf("%+v", r)
	}
	w.relay.Close() // again
}

// TestMany carries thousands of connections at once and holds nothing while they
// are silent.
func TestMany(t *testing.T) {
	many := 10000
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	limit.Cur = limit.Max
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	many = min(many, (int(limit.Max)-100)/4)
	w := newWorld(t)
	pairs := make([]*pair, many)
	for i := range pairs {
		pairs[i] = w.connect("x")
	}
	before := open(t)
	b := make([]byte, 32<<10)
	for _, p := range pairs {
		_, err := p.server.Write(b)
		must(t, err)
	}
	for _, p := range pairs {
		_, err := io.ReadFull(p.workload, b)
		must(t, err)
		_, err = io.ReadFull(p.server, b[:1])
		must(t, err)
	}
	if n := open(t); n > before+200 { // spare pipes
		t.Errorf("%d descriptors for %d connections, %d before they spoke", n, many, before)
	}
	for _, p := range pairs {
		must(t, p.workload.Close())
		must(t, p.server.Close())
	}
	for _, p := range pairs {
		p.want(t, 1, 32<<10)
	}
}

// TestLasting: a connection that lasts gets probes towards the far end, so that
// one that has vanished is noticed.
func TestLasting(t *testing.T) {
	w := newWorld(t)
	p := &pair{result: make(chan relay.Result, 1)}
	near := w.near(p)
	far, err := relay.Dial(netip.Addr{}, addrOf(w.server), false, nil)
	must(t, err)
	server, err := w.server.AcceptTCP()
	must(t, err)
	go func() {
		p.result <- w.relay.Run(relay.End{Socket: near, Said: []byte("x")}, relay.End{Socket: far}, time.Second)
	}()
	_, err = io.ReadFull(server, make([]byte, 1))
	must(t, err)
	for end, on := time.Now().Add(patience), 0; on == 0; time.Sleep(time.Millisecond) {
		on, err = unix.GetsockoptInt(far, unix.SOL_SOCKET, unix.SO_KEEPALIVE)
		must(t, err)
		if time.Now().After(end) {
			t.Fatal("no probes")
		}
	}
	must(t, server.Close())
	must(t, p.workload.Close())
	p.want(t, 1, 0)
}
