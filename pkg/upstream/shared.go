package upstream

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/h2"
)

// unheard is how long the host of an h2 upstream may leave unacknowledged what was
// sent to it. Many streams wait for one connection, so a dead one must show soon;
// the kernel sees that, and a PING now and then is what servers of gRPC end
// connections for.
const unheard = 30 * time.Second

// overH2 starts the HTTP/2 side of a new connection. Its reader ends with it.
func (p *Pool) overH2(c *Conn) {
	giveUpAfter(c.wire.TCP(), unheard)
	c.h2 = h2.NewClient(c.netConn, h2.Options{
		HeaderBytes: 256 << 10, StreamWindow: 64 << 10, Growth: 16 << 20,
		Stall: p.o.Timeouts.Stall, Beneath: c.wire,
	})
	go func() { _ = c.h2.Serve() }()
}

// giveUpAfter sets tcp(7)'s TCP_USER_TIMEOUT. Without it a dead connection shows
// later, so a failure is of no matter.
func giveUpAfter(c *net.TCPConn, d time.Duration) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
		})
	}
}

// room reports whether one more stream may be opened. A stream that was put back
// stands on the connection for a moment yet.
func (c *Conn) room(most int) bool {
	return c.state != spent && c.streams < min(c.h2.Limit(), most) && c.h2.Room() > 0
}

// join returns a shared connection with room for a stream. Pool.mu is held.
func (b *bucket) join(most int) *Conn {
	for _, c := range b.shared {
		if c.room(most) {
			c.streams++
			return c
		}
	}
	return nil
}

// share adds a new h2 connection, its first stream taken. Pool.mu is held.
func (p *Pool) share(c *Conn) {
	c.streams = 1
	if p.closed || c.gen != p.gen {
		return
	}
	if b := p.homeOf(c); b != nil {
		b.shared = append(b.shared, c)
		p.sweepLater()
	}
}

// leave ends one stream's use of c and reports whether the caller must shut it:
// it was the last, and nobody may join again. Pool.mu is held.
func (p *Pool) leave(c *Conn, fit bool) bool {
	if c.streams == 0 {
		return false
	}
	b, last := c.home, c.streams == 1
	kept := b != nil && slices.Contains(b.shared, c)
	usable := fit && kept && c.state != spent && c.gen == p.gen && c.h2.Alive() && (!last || !c.heavy && p.mayRest())
	c.streams--
	c.since = p.now()
	if usable && last {
		p.idle++
	}
	if !usable && (!fit || c.streams == 0) {
		c.state = spent
		if kept {
			i := slices.Index(b.shared, c)
			b.shared = slices.Delete(b.shared, i, i+1)
		}
	}
	return c.state == spent && c.streams == 0
}

// unlearn drops what the bucket remembers of an upstream that was offered h2 and
// no longer speaks it, so that workloads are not offered it any more either.
func (b *bucket) unlearn() {
	b.memory = slices.DeleteFunc(b.memory, func(m choice) bool { return m.alpn == http2.NextProtoTLS })
}

// disagree forgets what an upstream chose before it answered a handshake with an
// alert. That may be for want of a protocol (RFC 7301 section 3.2).
func (p *Pool) disagree(t *Target, err error) {
	if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "remote error" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.buckets[bucketKey{Key: t.Key}]; b != nil {
		b.memory = nil
	}
}

// flight is a dial that others wait for.
type flight struct {
	done chan struct{}
	err  error
}

// waits is how often who wants a connection waits for somebody else's dial. A burst may
// be more than one connection has room for, and more than the first two.
const waits = 3

// fetch dials, or waits for somebody else's dial of a connection that can be shared: a
// burst of requests to an h2 upstream makes one connection, or the few that have room for
// them.
func (p *Pool) fetch(ctx context.Context, t *Target) (*Conn, error) {
	for range waits {
		f, first := p.board(t)
		if f == nil {
			break
		}
		if first {
			c, err := p.reuse(t), error(nil) // another dial may have landed since we looked
			if c == nil {
				c, err = p.dial(ctx, t)
			}
			p.land(t, f, err)
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, fail(ctx, t, ctx.Err())
		case <-f.done:
		}
		if f.err != nil && !errors.Is(f.err, context.Canceled) {
			return nil, f.err
		}
		if c := p.reuse(t); c != nil {
			return c, nil
		}
	}
	return p.dial(ctx, t)
}

// board joins the flight of a key whose upstream speaks h2: it is remembered to choose
// it, or it is not asked; nil if that is not known.
func (p *Pool) board(t *Target) (f *flight, first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.shares(t)
	if b == nil {
		return nil, false
	}
	if b.flight != nil {
		return b.flight, false
	}
	b.flight = &flight{done: make(chan struct{})}
	return b.flight, true
}

// shares returns the bucket of a target whose connections will be shared, as far as is
// known. p.mu is held.
func (p *Pool) shares(t *Target) *bucket {
	k := bucketKey{t.Key, t.Cleartext}
	if t.priorKnowledge() {
		p.sweepLater()
		return p.bucket(k)
	}
	b := p.buckets[k]
	if b == nil || t.Cleartext {
		return nil
	}
	if alpn, ok := b.protocol(t.ALPN, p.now()-p.o.Timeouts.ALPN); !ok || alpn != http2.NextProtoTLS {
		return nil
	}
	return b
}

func (p *Pool) land(t *Target, f *flight, err error) {
	p.mu.Lock()
	if b := p.buckets[bucketKey{t.Key, t.Cleartext}]; b != nil && b.flight == f {
		b.flight = nil
	}
	p.mu.Unlock()
	f.err = err
	close(f.done)
}
