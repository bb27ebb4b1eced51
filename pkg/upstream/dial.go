package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
	"unique"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/wire"
)

// dial makes a new connection: resolve, connect, verify.
func (p *Pool) dial(ctx context.Context, t *Target) (*Conn, error) {
	p.mu.Lock()
	gen, closed := p.gen, p.closed
	p.mu.Unlock()
	if closed {
		return nil, &Error{Reason: flow.ReasonInternal, Host: t.Key.Host, Err: errClosed}
	}
	tcp, resolved, err := p.reach(ctx, t)
	if err != nil {
		return nil, fail(ctx, t, err)
	}
	p.dials.Add(1)
	tellConnected(ctx)
	c, err := p.establish(ctx, t, tcp, gen)
	if err != nil {
		_ = tcp.Close()
		p.disagree(t, err)
		return nil, fail(ctx, t, err)
	}
	c.Facts.Resolved, c.Peer = resolved, unique.Make(c.Facts.peer())
	c.uses.Store(1)
	p.enter(c, t)
	return c, nil
}

type whenConnected struct{}

// WhenConnected returns a context with which Get and Dial call f where they make a
// connection, once that stands and before anything is said on it. f must not wait.
func WhenConnected(ctx context.Context, f func()) context.Context {
	return context.WithValue(ctx, whenConnected{}, f)
}

func tellConnected(ctx context.Context) {
	if f, ok := ctx.Value(whenConnected{}).(func()); ok {
		f()
	}
}

// establish turns a TCP connection into a Conn with its facts.
func (p *Pool) establish(ctx context.Context, t *Target, tcp *net.TCPConn, gen uint64) (*Conn, error) {
	w, err := wire.New(tcp)
	if err != nil {
		return nil, err
	}
	c := &Conn{pool: p, wire: w, netConn: w, gen: gen, rests: -1}
	c.Facts = Facts{Key: t.Key, Remote: unmapped(tcp.RemoteAddr()), Local: unmapped(tcp.LocalAddr()), EgressIP: t.egressIP()}
	if t.Cleartext {
		if t.priorKnowledge() {
			c.Facts.ALPN = "h2c"
			p.overH2(c)
		}
		return c, nil
	}
	if err := p.handshake(ctx, t, c); err != nil {
		return nil, err
	}
	if c.Facts.ALPN == http2.NextProtoTLS {
		p.overH2(c)
	}
	return c, nil
}

// enter notes what the upstream chose and shares an h2 connection.
func (p *Pool) enter(c *Conn, t *Target) {
	p.mu.Lock()
	p.note(c, t)
	evicted := p.takeEvicted()
	p.mu.Unlock()
	shutAll(evicted)
}

// note is enter with p.mu held.
func (p *Pool) note(c *Conn, t *Target) {
	if b := p.homeOf(c); b != nil && len(t.ALPN) > 0 && !t.Cleartext {
		if c.Facts.ALPN == "" && slices.Contains(t.ALPN, http2.NextProtoTLS) {
			b.unlearn()
		}
		b.remember(t.ALPN, c.Facts.ALPN, p.now())
		p.sweepLater()
	}
	if c.h2 != nil {
		p.share(c)
	}
}

// reach resolves and connects; resolved says that the address is our resolver's.
func (p *Pool) reach(ctx context.Context, t *Target) (c *net.TCPConn, resolved bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeouts.Dial)
	defer cancel()
	if t.Key.Addr.IsValid() {
		c, err = p.connect(ctx, t, t.Key.Addr.Unmap())
		return c, false, err
	}
	addrs, err := p.resolve(ctx, t)
	if err != nil {
		return nil, false, err
	}
	c, err = p.race(ctx, t, addrs)
	return c, true, err
}

// resolve returns the addresses of the host that may be dialled, in the order to
// try them.
func (p *Pool) resolve(ctx context.Context, t *Target) ([]netip.Addr, error) {
	if p.o.Resolver == nil {
		return nil, &Error{Reason: flow.ReasonResolveFailed, Err: errNoResolver}
	}
	all, err := p.o.Resolver.Lookup(ctx, t.Key.Host)
	if err != nil || len(all) == 0 {
		return nil, lookupError(ctx, err)
	}
	allowed, err := permitted(t, all)
	if err != nil {
		return nil, err
	}
	addrs := sameFamily(allowed, t.egressIP())
	if len(addrs) == 0 {
		err := fmt.Errorf("no address of the family of egress IP %v among %v", t.egressIP(), allowed)
		return nil, &Error{Reason: flow.ReasonEgressUnavailable, Err: err}
	}
	return alternate(addrs), nil
}

func lookupError(ctx context.Context, err error) error {
	if err == nil {
		err = errors.New("no addresses")
	}
	reason := flow.ReasonResolveFailed
	if errors.Is(ctx.Err(), context.Canceled) {
		reason = flow.ReasonWorkloadClosed
	}
	return &Error{Reason: reason, Err: fmt.Errorf("resolve: %w", err)}
}

// permitted drops addresses in deny ranges; an error if none is left.
func permitted(t *Target, addrs []netip.Addr) ([]netip.Addr, error) {
	var allowed []netip.Addr
	var denied error
	for _, a := range addrs {
		a = a.Unmap()
		if name := DeniedRange(a, t.allowPrivate()); name != "" {
			denied = addressDenied(a, name)
			continue
		}
		allowed = append(allowed, a)
	}
	if len(allowed) == 0 {
		return nil, denied
	}
	return allowed, nil
}

func addressDenied(a netip.Addr, name string) error {
	return &Error{Reason: flow.ReasonAddressDenied, Err: fmt.Errorf("%v is a %s address", a, name)}
}

// sameFamily keeps the addresses that source can reach; all, if it is zero.
func sameFamily(addrs []netip.Addr, source netip.Addr) []netip.Addr {
	if !source.IsValid() {
		return addrs
	}
	var same []netip.Addr
	for _, a := range addrs {
		if a.Is4() == source.Is4() {
			same = append(same, a)
		}
	}
	return same
}

// alternate orders the families in turn, IPv6 first (RFC 8305 section 4).
func alternate(addrs []netip.Addr) []netip.Addr {
	var four, six, out []netip.Addr
	for _, a := range addrs {
		if a.Is4() {
			four = append(four, a)
		} else {
			six = append(six, a)
		}
	}
	for i := range max(len(four), len(six)) {
		if i < len(six) {
			out = append(out, six[i])
		}
		if i < len(four) {
			out = append(out, four[i])
		}
	}
	return out
}

const (
	attemptDelay = 250 * time.Millisecond // RFC 8305 section 5
	maxAttempts  = 8
)

type attempt struct {
	conn *net.TCPConn
	err  error
}

// race connects to one address after the other, each attempt beginning when the
// one before failed or took too long; the first to succeed wins. The error is the
// first attempt's, unless this host has no route for that family at all.
func (p *Pool) race(ctx context.Context, t *Target, addrs []netip.Addr) (*net.TCPConn, error) {
	if len(addrs) == 1 {
		return p.connect(ctx, t, addrs[0])
	}
	addrs = addrs[:min(len(addrs), maxAttempts)]
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan attempt)
	next := time.NewTimer(0)
	defer next.Stop()
	var first error
	for started, ended := 0, 0; ended < len(addrs); {
		select {
		case <-next.C:
			go p.attempt(ctx, t, addrs[started], results)
			if started++; started < len(addrs) {
				next.Reset(attemptDelay)
			}
		case r := <-results:
			ended++
			if r.err == nil {
				go discard(results, started-ended)
				return r.conn, nil
			}
			if first == nil || errors.Is(first, unix.ENETUNREACH) {
				first = r.err
			}
			if started < len(addrs) {
				next.Reset(0)
			}
		}
	}
	return nil, first
}

func (p *Pool) attempt(ctx context.Context, t *Target, a netip.Addr, results chan<- attempt) {
	c, err := p.connect(ctx, t, a)
	results <- attempt{c, err}
}

// discard closes what the n attempts that lost still bring. Their context is
// cancelled, so it ends.
func discard(results <-chan attempt, n int) {
	for range n {
		if r := <-results; r.err == nil {
			_ = r.conn.Close()
		}
	}
}

func unmapped(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
