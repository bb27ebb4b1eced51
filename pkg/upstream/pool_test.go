package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// secure is a TLS origin with a root of its own.
func secure(t testing.TB, o *origin) (*origin, *ca) {
	t.Helper()
	root := newCA(t, recipe{cn: "root"}, nil)
	o.config = &tls.Config{Certificates: []tls.Certificate{root.leaf(t, recipe{})}, NextProtos: []string{"h2", "http/1.1"}}
	return newOrigin(t, o), root
}

func TestLastPutIsFirstOut(t *testing.T) {
	o, root := secure(t, &origin{})
	p := newPool(t, Options{})
	to := target(o, root.pool())
	a, b := mustGet(t, p, to), mustGet(t, p, to)
	exchange(t, a)
	exchange(t, b)
	p.Put(a)
	p.Put(b)
	if got := mustGet(t, p, to); got != b || !got.Reused() {
		t.Error("not the most recently used")
	}
	if got := mustGet(t, p, to); got != a {
		t.Error("not the other one")
	}
	if s := p.Stats(); s.Dials != 2 || s.Reuses != 2 || s.Idle != 0 {
		t.Errorf("stats %+v", s)
	}
	p.Put(a)
	p.Put(a) // a second Put is no second connection
	if s := p.Stats(); s.Idle != 1 {
		t.Errorf("idle after a double Put: %d", s.Idle)
	}
	_ = a.Close()
	if s := p.Stats(); s.Idle != 0 {
		t.Errorf("idle after Close: %d", s.Idle)
	}
	p.Put(b)
}

// script is an origin that answers one request with what it is told to, then
// says more when told.
func script(response string, more <-chan string) func(net.Conn) {
	return func(c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, response)
		for s := range more {
			if s == "" {
				return
			}
			_, _ = io.WriteString(c, s)
		}
		_, _ = r.ReadByte()
	}
}

// TestIdleConnectionsMustBeSilent is T20: a response that nobody asked for, or a
// close, ends an idle connection before it serves another request.
func TestIdleConnectionsMustBeSilent(t *testing.T) {
	tests := []struct {
		name, response string
		read           int // how much of it the workload's side takes
		more           []string
	}{
		{"poison later", okResponse, len(okResponse), []string{okResponse}},
		{"one byte later", okResponse, len(okResponse), []string{"x"}},
		{"poison in the same record", okResponse + okResponse, len(okResponse), nil},
		{"closed by the peer", okResponse, len(okResponse), []string{""}},
	}
	for _, cleartext := range []bool{false, true} {
		for _, tt := range tests {
			more := make(chan string, 1)
			o, root := secure(t, &origin{serve: script(tt.response, more)})
			to := target(o, root.pool())
			if cleartext {
				o.stop()
				o = newOrigin(t, &origin{serve: script(tt.response, more)})
				to = plain(o, &Profile{AllowPrivate: true})
			}
			p := newPool(t, Options{})
			c := mustGet(t, p, to)
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if _, err := io.ReadFull(c, make([]byte, tt.read)); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			p.Put(c)
			for _, s := range tt.more {
				more <- s
			}
			close(more)
			if len(tt.more) > 0 {
				waitReadable(t, c)
			}
			if got := mustGet(t, p, to); got == c {
				t.Errorf("%s (cleartext %v): reused", tt.name, cleartext)
			} else {
				_ = got.Close()
			}
			if s := p.Stats(); s.Stale != 1 || s.Idle != 0 {
				t.Errorf("%s (cleartext %v): stats %+v", tt.name, cleartext, s)
			}
			o.stop()
		}
	}
}

// waitReadable waits for what the peer sent to arrive, without reading it.
func waitReadable(t *testing.T, c *Conn) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); c.wire.Silent(); {
		if time.Now().After(deadline) {
			t.Fatal("nothing came")
		}
		time.Sleep(time.Millisecond)
	}
}

// TestPoisonInsideTLS: a second record that crypto/tls read from the socket along
// with the response is found, though the socket itself is silent.
func TestPoisonInsideTLS(t *testing.T) {
	done := make(chan struct{})
	o, root := secure(t, &origin{serve: func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		cork(t, c, 1)
		for range 2 { // two records in one segment
			_, _ = io.WriteString(c, okResponse)
		}
		cork(t, c, 0)
		<-done
	}})
	defer close(done)
	p := newPool(t, Options{})
	to := target(o, root.pool())
	c := mustGet(t, p, to)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if n, err := c.Read(make([]byte, 4096)); n != len(okResponse) || err != nil {
		t.Fatalf("read %d, %v", n, err)
	}
	if !c.wire.Silent() {
		t.Fatal("the second record is still in the socket: not what this test is about")
	}
	p.Put(c)
	if got := mustGet(t, p, to); got == c {
		t.Error("reused")
	} else {
		_ = got.Close()
	}
}

// cork holds small segments back (tcp(7)).
func cork(t *testing.T, c net.Conn, on int) {
	tcp := c.(*counting).Conn.(*tls.Conn).NetConn().(*net.TCPConn)
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Error(err)
		return
	}
	if err := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, on) }); err != nil {
		t.Error(err)
	}
}

// TestLateTicketsAreNotPoison: TLS 1.3 messages after the response leave the
// connection fit.
func TestLateTicketsAreNotPoison(t *testing.T) {
	m := newMutual(t, tls.VersionTLS13) // its tickets follow the client's certificate
	p := newPool(t, Options{})
	to := m.with(&m.client)
	c := mustGet(t, p, to)
	waitReadable(t, c)
	p.Put(c)
	if got := mustGet(t, p, to); got != c {
		t.Error("tickets were taken for application data")
	}
	exchange(t, c)
	p.Put(c)
	if got := mustGet(t, p, to); got != c || p.Stats().Stale != 0 {
		t.Error("not reused after an exchange")
	}
	_ = c.Close()
}

func TestIdleConnectionsAreBounded(t *testing.T) {
	o, root := secure(t, &origin{})
	p := newPool(t, Options{Limits: Limits{IdlePerKey: 2, Idle: 3}})
	hold := func(route string, n int) []*Conn {
		var list []*Conn
		for range n {
			list = append(list, mustGet(t, p, target(o, root.pool(), func(t *Target) { t.Key.Route = route })))
		}
		return list
	}
	all := append(hold("a", 4), hold("b", 4)...)
	for _, c := range all {
		p.Put(c)
	}
	if s := p.Stats(); s.Idle != 3 {
		t.Errorf("%d idle, want 2 of a and 1 of b", s.Idle)
	}
}

// TestFullPoolTakesTheNewest: a flood of hosts fills the pool, and whoever comes
// after it is pooled all the same.
func TestFullPoolTakesTheNewest(t *testing.T) {
	o, root := secure(t, &origin{})
	for name, limits := range map[string]Limits{"idle": {Idle: 4}, "keys": {Keys: 4}} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, Options{Limits: limits})
			to := func(route int) Target {
				return target(o, root.pool(), func(t *Target) { t.Key.Route = strconv.Itoa(route) })
			}
			for route := range 20 {
				c := mustGet(t, p, to(route))
				p.Put(c)
				if s := p.Stats(); s.Idle != min(route+1, 4) {
					t.Fatalf("%d idle after %d routes", s.Idle, route+1)
				}
				again := mustGet(t, p, to(route))
				if again != c {
					t.Errorf("route %d was not pooled", route)
				}
				p.Put(again)
			}
			if n := len(p.buckets); limits.Keys > 0 && n > limits.Keys {
				t.Errorf("%d buckets", n)
			}
		})
	}
}

func TestSweepClosesWhatIsOldOrGone(t *testing.T) {
	o, root := secure(t, &origin{})
	p := newPool(t, Options{Timeouts: Timeouts{Idle: 50 * time.Millisecond, ALPN: time.Nanosecond}})
	p.Put(mustGet(t, p, target(o, root.pool())))
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		p.mu.Lock()
		buckets, timer := len(p.buckets), p.sweeper
		p.mu.Unlock()
		if p.Stats().Idle == 0 && buckets == 0 && timer == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d idle, %d buckets", p.Stats().Idle, buckets)
		}
	}
}

func TestHungUpConnectionsAreSwept(t *testing.T) {
	more := make(chan string)
	o, root := secure(t, &origin{serve: script(okResponse, more)})
	p := newPool(t, Options{})
	c := mustGet(t, p, target(o, root.pool()))
	exchange(t, c)
	if p.Put(c); c.wire.HungUp() {
		t.Error("an open connection counts as hung up")
	}
	close(more)
	o.stop()
	waitReadable(t, c)
	p.sweep()
	if s := p.Stats(); s.Idle != 0 {
		t.Errorf("%d idle after the peer closed", s.Idle)
	}
}

func TestRetire(t *testing.T) {
	o, root := secure(t, &origin{})
	p := newPool(t, Options{})
	to := target(o, root.pool())
	lazy, busy := mustGet(t, p, to), mustGet(t, p, to)
	p.Put(lazy)
	p.Retire()
	if s := p.Stats(); s.Idle != 0 {
		t.Errorf("%d idle after Retire", s.Idle)
	}
	if got := exchange(t, busy); got != okResponse {
		t.Errorf("busy connection: %q", got)
	}
	p.Put(busy)
	if got := mustGet(t, p, to); got == busy || got == lazy || p.Stats().Dials != 3 {
		t.Error("a connection of before is used after Retire")
	} else {
		_ = got.Close()
	}
}

func TestCleartextIsNeverMixedWithTLS(t *testing.T) {
	o := newOrigin(t, &origin{})
	p := newPool(t, Options{})
	to := plain(o, &Profile{AllowPrivate: true})
	c := mustGet(t, p, to)
	if exchange(t, c); c.Facts.Verified() || c.TCP() == nil || c.H2() != nil {
		t.Errorf("clear text: facts %+v", c.Facts)
	}
	p.Put(c)
	to.Cleartext = false
	refused(t, p, to, flow.ReasonUpstreamUnreachable) // it dialled anew, and the origin hung up on the ClientHello
	to.Cleartext = true
	if got := mustGet(t, p, to); got != c {
		t.Error("the clear text connection is gone")
	}
}

func TestCloseWriteEndsOurDirection(t *testing.T) {
	tail := func(c net.Conn) {
		if b, err := io.ReadAll(c); err == nil {
			_, _ = c.Write(b)
		}
	}
	o, root := secure(t, &origin{serve: tail})
	clear := newOrigin(t, &origin{serve: tail})
	p := newPool(t, Options{})
	for _, to := range []Target{target(o, root.pool()), plain(clear, &Profile{AllowPrivate: true})} {
		c := mustGet(t, p, to)
		_, _ = io.WriteString(c, "all of it")
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); err != nil || string(b) != "all of it" {
			t.Errorf("cleartext %v: %q, %v", to.Cleartext, b, err)
		}
		if (c.TCP() != nil) != to.Cleartext {
			t.Errorf("cleartext %v: TCP() is %v", to.Cleartext, c.TCP())
		}
		_ = c.Close()
	}
}

func TestProtocolIsRemembered(t *testing.T) {
	o, root := secure(t, &origin{})
	p := newPool(t, Options{})
	offer := func(alpn ...string) Target {
		return target(o, root.pool(), func(t *Target) { t.ALPN = alpn })
	}
	both, old := []string{"h2", "http/1.1"}, []string{"http/1.1"}
	if _, ok := p.Protocol(offer().Key, both); ok {
		t.Error("remembered before anything was dialled")
	}
	_ = mustGet(t, p, offer(both...)).Close()
	_ = mustGet(t, p, offer(old...)).Close()
	for _, tt := range []struct {
		offered []string
		want    string
		ok      bool
	}{{both, "h2", true}, {old, "http/1.1", true}, {[]string{"h2"}, "", false}, {nil, "", false}} {
		if got, ok := p.Protocol(offer().Key, tt.offered); got != tt.want || ok != tt.ok {
			t.Errorf("%v: %q, %v", tt.offered, got, ok)
		}
	}
	other := offer().Key
	other.Route = "other"
	if _, ok := p.Protocol(other, both); ok {
		t.Error("remembered for another key")
	}
	p.o.Timeouts.ALPN = time.Nanosecond
	if _, ok := p.Protocol(offer().Key, both); ok {
		t.Error("remembered for ever")
	}
}

// TestUnchosenProtocolIsHTTP1: a connection on which nothing was chosen speaks
// HTTP/1.1, and is no answer to an offer of h2 alone.
func TestUnchosenProtocolIsHTTP1(t *testing.T) {
	for _, c := range []struct {
		alpn  []string
		proto string
		want  bool
	}{
		{nil, "", true}, {nil, "http/1.1", true}, {nil, "h2", false},
		{[]string{"http/1.1"}, "", true}, {[]string{"h2", "http/1.1"}, "", true}, {[]string{"h2"}, "", false},
		{[]string{"h2"}, "http/1.1", false}, {[]string{"h2"}, "h2", true}, {[]string{"http/1.1"}, "h2", false},
	} {
		if got := offers(c.alpn, c.proto); got != c.want {
			t.Errorf("offer %q, connection %q: %v, want %v", c.alpn, c.proto, got, c.want)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	b, now := new(bucket), time.Now()
	for i := range maxChoices + 5 {
		b.remember([]string{string(rune('a' + i))}, "x", now)
	}
	if len(b.memory) != maxChoices {
		t.Errorf("%d choices", len(b.memory))
	}
	p := NewPool(Options{Limits: Limits{Keys: 10}})
	defer p.Close()
	for i := range 50 {
		if p.bucket(bucketKey{Key: Key{Port: uint16(i)}}) == nil {
			t.Fatal("no room although every bucket is empty")
		}
	}
	if len(p.buckets) != 10 {
		t.Errorf("%d buckets", len(p.buckets))
	}
	for _, b := range p.buckets {
		b.flight = new(flight)
	}
	if p.bucket(bucketKey{Key: Key{Port: 99}}) != nil {
		t.Error("a bucket in use was given up")
	}
}

// TestPoolNeverMixesKeys is the property behind the binding invariant: whatever is
// asked, put, closed and retired, a connection comes back for an equal Key, equal
// Cleartext and a fitting ALPN only, and belongs to one caller.
func TestPoolNeverMixesKeys(t *testing.T) {
	o, root := secure(t, &origin{})
	clear := newOrigin(t, &origin{})
	roots := root.pool()
	rapid.Check(t, func(rt *rapid.T) {
		p := NewPool(Options{Resolver: resolverOf{loopback}, Limits: Limits{IdlePerKey: 2, Idle: 4}})
		defer p.Close()
		held := map[*Conn]bool{}
		retired := map[*Conn]bool{}
		pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(rt, label) }
		give := func(f func(*Conn)) {
			for c := range held {
				delete(held, c)
				f(c)
				return
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"get": func(rt *rapid.T) {
				to := target(o, roots, func(t *Target) {
					t.Key.Route, t.Key.Credentials = pick("route", "a", "b"), pick("credentials", "x@1", "x@2")
					t.Profile.Version = pick("version", "1", "2")
					if pick("address", "name", "original") == "original" {
						t.Key.Addr = loopback
					}
					if t.Cleartext = pick("leg", "tls", "clear") == "clear"; t.Cleartext {
						t.Key.Port = clear.addr.Port()
					}
				})
				c, err := p.Get(context.Background(), &to)
				if err != nil {
					rt.Fatal(err)
				}
				if c.Facts.Key != to.Key || (c.Facts.TLS == 0) != to.Cleartext {
					rt.Fatalf("asked for %+v, got %+v", to.Key, c.Facts)
				}
				if held[c] || retired[c] {
					rt.Fatal("a connection that is held or retired")
				}
				if _, err := tryExchange(c); err != nil {
					rt.Fatal(err)
				}
				held[c] = true
			},
			"put":   func(*rapid.T) { give(p.Put) },
			"close": func(*rapid.T) { give(func(c *Conn) { _ = c.Close() }) },
			"retire": func(*rapid.T) {
				for c := range held {
					retired[c] = true
				}
				p.Retire()
			},
		})
		for c := range held {
			_ = c.Close()
		}
	})
}

// TestPoolUnderLoad is for the race detector.
func TestPoolUnderLoad(t *testing.T) {
	o, root := secure(t, &origin{})
	p := newPool(t, Options{Limits: Limits{IdlePerKey: 3}})
	roots := root.pool()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 25 {
				to := target(o, roots, func(t *Target) { t.Key.Route = string(rune('a' + (i+j)%3)) })
				c, err := p.Get(context.Background(), &to)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := tryExchange(c); err != nil || c.Facts.Key != to.Key {
					t.Errorf("%v on %+v", err, c.Facts.Key)
				}
				switch j % 7 {
				case 5:
					_ = c.Close()
				case 6:
					p.Put(c)
					p.Retire()
				default:
					p.Put(c)
				}
			}
		})
	}
	wg.Wait()
}
