package upstream

import (
	"context"
	"crypto/tls"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
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

// TestPutAfterItsBucketWasDropped: what the pool forgot of a key while a connection
// was in use is made anew, so the connection is found again.
func TestPutAfterItsBucketWasDropped(t *testing.T) {
	o, root := secure(t, &origin{})
	p := newPool(t, Options{})
	to := target(o, root.pool())
	c := mustGet(t, p, to)
	exchange(t, c)
	p.mu.Lock()
	dropped := p.evict((*bucket).empty)
	p.mu.Unlock()
	if !dropped {
		t.Fatal("the bucket of a connection in use is not empty")
	}
	p.Put(c)
	again := mustGet(t, p, to)
	if again != c {
		t.Error("the connection was lost with the bucket")
	}
	p.Put(again)
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
