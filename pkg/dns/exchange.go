package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"
)

const (
	ednsSize   = 1232                  // what fits the smallest IPv6 path (RFC 9715)
	readBuffer = 4 << 10               // servers may send more than was asked for
	otherGrace = 50 * time.Millisecond // RFC 8305 section 3: Resolution Delay
)

// result is what one family came to.
type result struct {
	answer
	err error
}

// both asks for IPv4 and IPv6 at once. When one has addresses, the other gets a
// short while more; what comes later than that is not waited for.
func (r *Resolver) both(ctx context.Context, name string, servers []netip.AddrPort) (answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result, 2)
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		go func() {
			a, err := r.family(ctx, name, kind, servers)
			results <- result{a, err}
		}()
	}
	first := <-results
	if first.err == nil && len(first.addrs) > 0 {
		late := time.AfterFunc(otherGrace, cancel)
		defer late.Stop()
	}
	return merge(first, <-results)
}

// merge joins what the families said. One that failed does not spoil the other's
// addresses, but these are then kept for a short time only.
func merge(a, b result) (answer, error) {
	all := answer{slices.Concat(a.addrs, b.addrs), min(a.life(), b.life())}
	failed := errors.Join(a.err, b.err)
	if failed != nil && len(all.addrs) == 0 {
		return answer{}, failed
	}
	if failed != nil {
		all.ttl = min(all.ttl, negativeTTL)
	}
	return all, nil
}

// life is how long a may be kept; no addresses set no limit.
func (a answer) life() time.Duration {
	if len(a.addrs) == 0 {
		return maxTTL
	}
	return a.ttl
}

// family resolves one family of a name, asking on where a CNAME leads out of an
// answer.
func (r *Resolver) family(ctx context.Context, name string, kind uint16, servers []netip.AddrPort) (answer, error) {
	c := newChain(name, kind)
	for {
		m, err := r.ask(ctx, c.name, kind, servers)
		if err != nil {
			return answer{}, err
		}
		done, err := c.take(m)
		if done || err != nil {
			return c.answer, err
		}
	}
}

// ask tries the servers in turn until one answers.
func (r *Resolver) ask(ctx context.Context, name string, kind uint16, servers []netip.AddrPort) (*dns.Msg, error) {
	var last error
	for range rounds {
		for _, s := range servers {
			m, err := r.server(ctx, s, name, kind)
			if err == nil {
				return m, nil
			}
			last = fmt.Errorf("%w: server %v: %w", ErrNoAnswer, s, err)
			if ctx.Err() != nil {
				return nil, last
			}
		}
	}
	return nil, last
}

// server asks one server: over UDP, over TCP if the answer was cut, and without
// EDNS if the server does not know that (RFC 6891 section 7).
func (r *Resolver) server(ctx context.Context, s netip.AddrPort, name string, kind uint16) (*dns.Msg, error) {
	q := new(dns.Msg).SetQuestion(name, kind)
	q.SetEdns0(ednsSize, false)
	m, err := r.exchange(ctx, s, q)
	if err == nil && m.Rcode == dns.RcodeFormatError {
		q = new(dns.Msg).SetQuestion(name, kind)
		m, err = r.exchange(ctx, s, q)
	}
	if err != nil {
		return nil, err
	}
	return m, usable(m)
}

func (r *Resolver) exchange(ctx context.Context, s netip.AddrPort, q *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	m, err := r.over(ctx, "udp", s, q)
	if err == nil && m.Truncated {
		return r.over(ctx, "tcp", s, q)
	}
	return m, err
}

// over sends q on a socket of its own, whose port the kernel chose at random.
func (r *Resolver) over(ctx context.Context, network string, s netip.AddrPort, q *dns.Msg) (*dns.Msg, error) {
	d := net.Dialer{Control: r.o.Control}
	c, err := d.DialContext(ctx, network, s.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn := &dns.Conn{Conn: c, UDPSize: readBuffer}
	if err := conn.WriteMsg(q); err != nil {
		return nil, err
	}
	return reply(conn, q, network == "udp")
}

// reply reads until the answer to q has come. Anything else on UDP may be
// forged and does not end the wait.
func reply(conn *dns.Conn, q *dns.Msg, udp bool) (*dns.Msg, error) {
	for {
		p, err := conn.ReadMsgHeader(nil)
		if err != nil && !(udp && errors.Is(err, dns.ErrShortRead)) {
			return nil, err
		}
		m, err := parse(q, p)
		if err == nil {
			return m, nil
		}
		if !udp {
			return nil, err
		}
	}
}

// parse reads a reply to q. One that is cut may end in the middle of a record; it
// is asked for again anyway.
func parse(q *dns.Msg, p []byte) (*dns.Msg, error) {
	m := new(dns.Msg)
	if err := m.Unpack(p); err != nil && !m.Truncated {
		return nil, fmt.Errorf("unpack answer: %w", err)
	}
	if !answers(q, m) {
		return nil, errors.New("answer to another question")
	}
	return m, nil
}
