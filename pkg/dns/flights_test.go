package dns

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

type who struct{}

// by is the context of an asker.
func by(ctx context.Context, asker uint64) context.Context {
	return context.WithValue(ctx, who{}, asker)
}

func askerOf(ctx context.Context) uint64 {
	n, _ := ctx.Value(who{}).(uint64)
	return n
}

// crowd looks names up that no server answers for, until it hears.
type crowd struct {
	r       *Resolver
	hears   chan struct{}
	callers sync.WaitGroup
	failed  atomic.Int32
}

func (c *crowd) asks(ctx context.Context, asker uint64, names int) {
	for n := range names {
		c.callers.Go(func() {
			_, err := c.r.flights.do(ctx, asker, fmt.Sprintf("slow-%d-%d.example", asker, n), func() (entry, error) {
				<-c.hears
				return entry{}, nil
			})
			if err != nil {
				c.failed.Add(1)
			}
		})
	}
}

// Who looks up more names than a server answers, and leaves, takes neither the host's
// ports nor the room of others.
func TestFlightsAreSharedOut(t *testing.T) {
	r := resolver(t, serve(t, zone("quick.example. 60 A 192.0.2.1", "other.example. 60 A 192.0.2.1")))
	r.o.Asker = askerOf
	c := &crowd{r: r, hears: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	c.asks(ctx, 1, 2*maxFlights)
	r.awaitFlights(t, maxFlights/2)
	c.asks(ctx, 2, 2*maxFlights)
	r.awaitFlights(t, maxFlights*3/4)
	for asker, name := range map[uint64]string{3: "quick.example", 4: "other.example"} {
		if got, err := r.Lookup(by(t.Context(), asker), name); err != nil || len(got) != 1 {
			t.Errorf("another one is kept waiting: %v, %v", got, err)
		}
	}
	cancel()
	c.callers.Wait()
	r.awaitFlights(t, maxFlights*3/4) // nobody waits for them, and they have their sockets yet
	close(c.hears)
	r.awaitFlights(t, 0)
	if n := len(r.flights.askers); n != 0 {
		t.Errorf("%d askers are remembered", n)
	}
}

// awaitFlights waits until so many lookups are under way, and fails on more.
func (r *Resolver) awaitFlights(t *testing.T, want int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		r.flights.mu.Lock()
		held := r.flights.held
		r.flights.mu.Unlock()
		switch {
		case held == want:
			return
		case time.Now().After(deadline), want > 0 && held > want:
			t.Fatalf("%d lookups under way, want %d", held, want)
		}
	}
}

// Who has to wait gets its turn, and a name that others look up too is looked up once.
func TestFlightsWaitTheirTurn(t *testing.T) {
	c := &crowd{r: resolver(t), hears: make(chan struct{})}
	for range 2 {
		c.asks(t.Context(), 1, maxFlights)
	}
	c.r.awaitFlights(t, maxFlights/2)
	close(c.hears)
	c.callers.Wait()
	if n := c.failed.Load(); n > 0 {
		t.Errorf("%d of them failed", n)
	}
	c.r.awaitFlights(t, 0)
}

// A name with addresses without end has a few of them.
func TestAddressesAreBounded(t *testing.T) {
	r := resolver(t, serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Truncated = w.RemoteAddr().Network() == "udp"
		for i := range 2000 {
			if q.Question[0].Qtype == dns.TypeA && !m.Truncated {
				rr, err := dns.NewRR(fmt.Sprintf("%s 60 A 192.0.%d.%d", q.Question[0].Name, i/256, i%256))
				if err != nil {
					panic(err)
				}
				m.Answer = append(m.Answer, rr)
			}
		}
		_ = w.WriteMsg(m)
	}))
	if got, err := r.Lookup(t.Context(), "many.example"); err != nil || len(got) != maxAddrs {
		t.Errorf("%d addresses, %v", len(got), err)
	}
}
