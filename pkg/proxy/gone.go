package proxy

import (
	"net"
	"sync/atomic"
	"time"
)

// vigil is whether an HTTP/1 exchange waits for its upstream with all of the request
// sent, or a tunnel behind all that the workload had to say. Nobody reads from that then,
// so that it has left shows only to who looks after it (watch): without that its upstream
// would work on, and the connection stay, for as long as an answer may take, and a tunnel
// until the upstream ends it.
type vigil struct{ state atomic.Uint32 }

const (
	attended  = iota // somebody reads from the workload
	awaiting         // for the upstream
	abandoned        // the workload has left, and both connections are closed
)

func (v *vigil) begin()         { v.state.Store(awaiting) }
func (v *vigil) kept() bool     { return v.state.Load() == awaiting }
func (v *vigil) breakOff() bool { return v.state.CompareAndSwap(awaiting, abandoned) }

// end reports whether the workload was there to the end. The upstream's connection is
// not fit for anybody else if it was not.
func (v *vigil) end() bool { return v.state.Swap(attended) != abandoned }

// watchLater has the connections looked after while there are any. p.mu is held.
func (p *Proxy) watchLater() {
	if !p.watching {
		p.watching = true
		time.AfterFunc(p.o.Timeouts.Look, p.watch)
	}
}

// watch ends the exchanges whose workload has left.
func (p *Proxy) watch() {
	var waiting []*conn
	p.each(func(c *conn) {
		if c.vigil.kept() {
			waiting = append(waiting, c)
		}
	})
	for _, c := range waiting {
		if c.hasLeft() && c.vigil.breakOff() {
			c.abort()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watching = false; len(p.open) > 0 {
		p.watchLater()
	}
}

// hasLeft reports whether the workload takes no answer any more: it has reset the
// connection or, under TLS, closed it and taken nothing since the last look. To end just
// the own side and read on is usual in clear text alone (nc, socat), where its kernel is
// asked which of the two it was, and resets what it has forgotten.
func (c *conn) hasLeft() bool {
	before := c.hungUp
	switch c.hungUp = c.wire.HungUp(); {
	case c.wire.Broken():
		return true
	case !c.hungUp:
		return false
	case c.proto != protoTLS:
		if !before {
			_ = c.raw.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second})
		}
		return false
	}
	last := c.taken
	taken, all := c.wire.Taken()
	c.taken = taken
	return before && all && taken == last
}
