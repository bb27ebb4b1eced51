package upstream

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/h2"
)

// overH2 starts the HTTP/2 side of a new connection. Its reader ends with it.
func (p *Pool) overH2(c *Conn) {
	c.h2 = h2.NewClient(c.netConn, h2.Options{
		HeaderBytes: 256 << 10,
		Ping:        15 * time.Second,
		Stall:       30 * time.Second,
	})
	go func() { _ = c.h2.Serve() }()
}

// room reports whether one more stream may be opened.
func (c *Conn) room(most int) bool {
	return c.state != spent && c.streams < min(c.h2.Limit(), most)
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
	if b := p.bucket(c.bucketKey()); b != nil {
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
	c.streams--
	c.since = time.Now()
	b := p.buckets[c.bucketKey()]
	kept := b != nil && slices.Contains(b.shared, c)
	usable := fit && kept && c.state != spent && c.gen == p.gen && c.h2.Alive()
	if !usable && (!fit || c.streams == 0) {
		c.state = spent
		if kept {
			i := slices.Index(b.shared, c)
			b.shared = slices.Delete(b.shared, i, i+1)
		}
	}
	return c.state == spent && c.streams == 0
}

// flight is a dial that others wait for.
type flight struct {
	done chan struct{}
	err  error
}

// fetch dials, or waits once for somebody else's dial of a connection that can be
// shared: a burst of requests to an h2 upstream makes one connection.
func (p *Pool) fetch(ctx context.Context, t *Target) (*Conn, error) {
	if !slices.Contains(t.ALPN, http2.NextProtoTLS) || t.Cleartext {
		return p.dial(ctx, t)
	}
	f, first := p.board(t)
	if f == nil {
		return p.dial(ctx, t)
	}
	if first {
		c, err := p.dial(ctx, t)
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
	return p.dial(ctx, t)
}

// board joins the flight of a key that is remembered to choose h2; nil if there
// is no such memory.
func (p *Pool) board(t *Target) (f *flight, first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.buckets[bucketKey{Key: t.Key}]
	if b == nil {
		return nil, false
	}
	alpn, ok := b.protocol(t.ALPN, time.Now().Add(-p.o.Timeouts.ALPN))
	if !ok || alpn != http2.NextProtoTLS {
		return nil, false
	}
	if b.flight != nil {
		return b.flight, false
	}
	b.flight = &flight{done: make(chan struct{})}
	return b.flight, true
}

func (p *Pool) land(t *Target, f *flight, err error) {
	p.mu.Lock()
	if b := p.buckets[bucketKey{Key: t.Key}]; b != nil && b.flight == f {
		b.flight = nil
	}
	p.mu.Unlock()
	f.err = err
	close(f.done)
}
