package proxy

import (
	"context"
	"time"

	"github.com/outwarden/outwarden/pkg/upstream"
)

// mirror reaches the upstream and returns the protocol to agree on with the
// workload: what the upstream chose of what the workload offered. "" means no ALPN
// at all. The connection waits in the pool for the first request.
func (c *conn) mirror(ctx context.Context, t *upstream.Target) string {
	ctx, cancel := context.WithTimeout(ctx, c.p.o.Timeouts.Hello)
	defer cancel()
	offered, get := t.ALPN, c.snap.Upstream.Dial // a pooled connection would tell what an earlier workload offered
	if len(offered) == 0 {
		get = c.snap.Upstream.Get // then there is nothing to choose from, and any will do
	}
	up, err := get(ctx, t)
	if err != nil {
		c.failed = dead{t.Key, upstreamFailure(err)}
		return plainest(offered)
	}
	alpn := up.Facts().ALPN
	c.snap.Upstream.Put(up)
	return spoken(alpn, offered)
}

// dead is an upstream that could not be had while the workload waited for its
// handshake. A request for the same is answered with that; one that another
// route sends elsewhere is not.
type dead struct {
	key upstream.Key
	why *failure
}

// reaching is an upstream that is reached while the workload shakes hands.
type reaching struct {
	target    upstream.Target
	connected chan struct{} // there is something in it once its TCP connection stands
	over      chan struct{} // closed when it is reached, or cannot be
}

// near is what a TCP connection may take for the workload's handshake to wait for
// it. Where it stands sooner our hello goes first, and is answered while we are
// busy with the workload; farther away its round trips leave time for that anyway.
const near = 5 * time.Millisecond

// handshakeBeside is handshake while the upstream is reached, unless it was before.
// Both are over when it returns: what is dialled for a connection ends with it.
func (c *conn) handshakeBeside(t upstream.Target) error {
	if up := c.snap.Upstream.Ready(&t); !up.IsZero() {
		c.snap.Upstream.Put(up)
		return c.handshake()
	}
	r := &reaching{t, make(chan struct{}, 1), make(chan struct{})}
	c.beside = r
	c.p.crew.send(errand{c, (*conn).reach})
	defer func() {
		<-r.over
		c.beside = nil
	}()
	r.awaitNear()
	return c.handshake()
}

// reach is the other side of handshakeBeside.
func (c *conn) reach() {
	r := c.beside
	defer close(r.over)
	c.mirror(upstream.WhenConnected(c.asks(), r.connect), &r.target)
}

func (r *reaching) connect() {
	select {
	case r.connected <- struct{}{}:
	default:
	}
}

func (r *reaching) awaitNear() {
	late := time.NewTimer(near)
	defer late.Stop()
	select {
	case <-r.connected:
	case <-r.over:
	case <-late.C:
	}
}
