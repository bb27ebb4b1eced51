package upstream

import (
	"context"
	"crypto/x509"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/http2"
)

// Resolver answers which addresses a canonical host name has; *dns.Resolver is
// one.
type Resolver interface {
	Lookup(ctx context.Context, host string) ([]netip.Addr, error)
}

// Options say what a Pool depends on.
type Options struct {
	Resolver Resolver

	// Control runs on every socket before bind and connect: our mark. May be nil.
	Control func(network, address string, c syscall.RawConn) error

	// Roots are those of the system, for profiles without their own; nil, or a nil pool:
	// as crypto/x509 read them first. Who knows of others retires the pool.
	Roots func() *x509.CertPool

	// OwnRoot reports whether a certificate chain is signed by a local CA of this
	// host, of now or before. May be nil.
	OwnRoot func(chain []*x509.Certificate) bool

	// Listener reports whether an address is a listener of ours; dialling it would
	// be a loop. May be nil.
	Listener func(netip.AddrPort) bool

	Timeouts Timeouts
	Limits   Limits
}

// Timeouts bound the waits; a zero field takes the default in brackets.
type Timeouts struct {
	Dial      time.Duration // resolving and connecting, all addresses together [10 s]
	Handshake time.Duration // TLS [10 s]
	Idle      time.Duration // how long an unused connection is kept [90 s]
	ALPN      time.Duration // how long Protocol remembers [10 min]
	Stall     time.Duration // how long an h2 connection, or a stream on it, may take nothing of what is sent [5 min]
}

// Limits bound what is kept; a zero field takes the default in brackets.
type Limits struct {
	IdlePerKey int // idle connections of one Key [1024]
	Idle       int // idle connections in all, h2 ones too [8192]
	Keys       int // Keys remembered, idle connections or not [8192]
	Streams    int // streams of one h2 connection, if the peer allows more [250]
}

// Stats are counters since NewPool, and the present number of idle connections.
type Stats struct {
	Dials, Handshakes, Resumed uint64 // TCP connections, full or resumed handshakes, of them resumed
	Reuses                     uint64 // Gets answered from the pool
	Stale                      uint64 // idle connections found closed or not silent
	Failures                   uint64 // Gets that returned an error
	Idle                       int
}

// Pool keeps connections to upstreams. It is safe for concurrent use.
type Pool struct {
	o          Options
	began      time.Time
	sessions   sessions
	publicKeys map[string]string // see distrusted

	dials, handshakes, resumed, reuses, stale, failures atomic.Uint64

	mu      sync.Mutex
	gen     uint64 // changes with Retire
	closed  bool
	idle    int // connections that nobody uses, h2 ones too
	buckets map[bucketKey]*bucket
	evicted []*Conn     // to be shut by who holds mu, once it does not
	sweeper *time.Timer // runs while there is something to sweep
}

// NewPool returns an empty pool. Close it to end its connections.
func NewPool(o Options) *Pool {
	set(&o.Timeouts.Dial, 10*time.Second)
	set(&o.Timeouts.Handshake, 10*time.Second)
	set(&o.Timeouts.Idle, 90*time.Second)
	set(&o.Timeouts.ALPN, 10*time.Minute)
	set(&o.Timeouts.Stall, 5*time.Minute)
	set(&o.Limits.IdlePerKey, 1024)
	set(&o.Limits.Idle, 8192)
	set(&o.Limits.Keys, 8192)
	set(&o.Limits.Streams, 250)
	p := &Pool{o: o, began: time.Now(), publicKeys: publicKeys, buckets: make(map[bucketKey]*bucket)}
	return p
}

// now is the time since NewPool: one reading of a clock, where time.Now needs two.
func (p *Pool) now() time.Duration { return time.Since(p.began) }

func set[T int | time.Duration](field *T, def T) {
	if *field == 0 {
		*field = def
	}
}

// Get returns a connection for the target: the most recently used idle one, a
// share of an h2 connection, or a new one. The caller gives it back by one Put
// or one Close. Errors are *Error. A cancelled ctx ends the wait; once Get has
// returned, ctx no longer matters. The target must not be changed any more.
func (p *Pool) Get(ctx context.Context, t *Target) (*Conn, error) {
	if err := t.check(); err != nil {
		p.failures.Add(1)
		return nil, err
	}
	if c := p.reuse(t); c != nil {
		return c, nil
	}
	return p.count(p.fetch(ctx, t))
}

// Ready is Get without a wait: nil where a connection must first be made. Errors
// are Get's to report.
func (p *Pool) Ready(t *Target) *Conn {
	if t.check() != nil {
		return nil
	}
	return p.reuse(t)
}

// Dial is Get without the pool: always a new connection. It may be Put.
func (p *Pool) Dial(ctx context.Context, t *Target) (*Conn, error) {
	if err := t.check(); err != nil {
		p.failures.Add(1)
		return nil, err
	}
	return p.count(p.dial(ctx, t))
}

func (p *Pool) count(c *Conn, err error) (*Conn, error) {
	if err != nil {
		p.failures.Add(1)
		return nil, err
	}
	return c, nil
}

// reuse returns a pooled connection that is open and silent, or nil.
func (p *Pool) reuse(t *Target) *Conn {
	for {
		p.mu.Lock()
		c := p.take(t)
		p.mu.Unlock()
		if c == nil {
			return nil
		}
		if p.fresh(c) && c.alive() {
			c.uses.Add(1)
			p.reuses.Add(1)
			return c
		}
		p.stale.Add(1)
		p.release(c, false)
	}
}

// fresh reports whether the upstream, if it has said how long it keeps the connection,
// still does. A request that meets the end is lost: who can't be asked again would fail
// where one on a connection of its own would not.
func (p *Pool) fresh(c *Conn) bool { return c.h2 != nil || c.rests < 0 || p.now() < c.until }

// take pops an idle connection or joins a shared one. p.mu is held.
func (p *Pool) take(t *Target) *Conn {
	b := p.buckets[bucketKey{t.Key, t.Cleartext}]
	if b == nil {
		return nil
	}
	if len(b.shared) > 0 && slices.Contains(t.ALPN, http2.NextProtoTLS) {
		if c := b.join(p.o.Limits.Streams); c != nil {
			if c.streams == 1 {
				p.idle-- // it rested
			}
			return c
		}
	}
	c := b.pop(t.ALPN)
	if c != nil {
		p.idle--
	}
	return c
}

// Put gives a connection back that is fit for another request: nothing of the
// last response is unread and nothing is left unsent. The pool closes it instead if
// it is full, was retired meanwhile, or has no use for it. Whoever gets it next sets
// its deadlines anew.
func (p *Pool) Put(c *Conn) { p.release(c, true) }

func (p *Pool) release(c *Conn, fit bool) {
	p.mu.Lock()
	done := p.unshare(c, fit)
	evicted := p.takeEvicted()
	p.mu.Unlock()
	shutAll(evicted)
	if done {
		c.shut()
	}
}

// unshare ends one use of c and reports whether the caller must shut it. p.mu is
// held.
func (p *Pool) unshare(c *Conn, fit bool) bool {
	if c.h2 != nil {
		return p.leave(c, fit)
	}
	if c.state == spent || c.state == idle && fit {
		return false
	}
	if c.state == idle {
		c.home.remove(c)
		p.idle--
	}
	c.state = spent
	if !fit || !p.keep(c) {
		return true
	}
	return false
}

// onItsWay is how long before its announced end a connection is not used any more: the
// answer and the next request take their time on the way. It is half of less.
const onItsWay = time.Second

// keep puts c on top of its bucket if there is room. p.mu is held.
func (p *Pool) keep(c *Conn) bool {
	if p.closed || c.gen != p.gen || c.heavy || c.rests == 0 {
		return false
	}
	b := p.homeOf(c)
	if b == nil || len(b.idle) >= p.o.Limits.IdlePerKey || !p.mayRest() {
		return false
	}
	c.state, c.since = idle, p.now()
	c.until = c.since + c.rests - min(onItsWay, c.rests/2)
	b.idle = append(b.idle, c)
	p.idle++
	p.sweepLater()
	return true
}

// Protocol returns what the upstream chose the last time that exactly these
// protocols were offered to it; "" means that it chose none. ok is false if that
// is not known or no longer fresh.
func (p *Pool) Protocol(k Key, offered []string) (alpn string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.buckets[bucketKey{Key: k}]
	if b == nil {
		return "", false
	}
	return b.protocol(offered, p.now()-p.o.Timeouts.ALPN)
}

// Retire closes every idle connection, forgets all TLS sessions, and lets busy
// connections finish without being put back. For a reload.
func (p *Pool) Retire() {
	p.mu.Lock()
	p.gen++
	gen := p.gen
	var old []*Conn
	for _, b := range p.buckets {
		old = append(old, b.clear()...)
	}
	p.idle = 0
	p.mu.Unlock()
	p.sessions.retire(gen)
	shutAll(old)
}

// Close retires everything and makes every later Get fail.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	if p.sweeper != nil {
		p.sweeper.Stop()
	}
	p.mu.Unlock()
	p.Retire()
}

// Stats returns the counters.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	n := p.idle
	p.mu.Unlock()
	return Stats{
		Dials: p.dials.Load(), Handshakes: p.handshakes.Load(), Resumed: p.resumed.Load(),
		Reuses: p.reuses.Load(), Stale: p.stale.Load(), Failures: p.failures.Load(), Idle: n,
	}
}
