package proxy

import (
	"context"
	"sync"
	"time"

	"github.com/outwarden/outwarden/pkg/inject"
)

// lastWords is how long a connection that is told to end may take to do so in
// good order, before it is reset.
const lastWords = 2 * time.Second

// courtesy is how long a connection that waits for a request still may, when it is
// to end: the request may be on its way, and a workload in full swing sends the
// next at once, whose answer tells it that there will be no other.
const courtesy = 500 * time.Millisecond

// welcome is the same for one that has had no request yet: its workload has just
// made it for one, and would not ask again on another.
const welcome = 5 * time.Second

// settling is the connections that Settle waits for.
type settling struct {
	mu   sync.Mutex
	left map[*conn]struct{}
	done chan struct{} // closed when none is left
}

func (s *settling) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.left[c]; !ok {
		return
	}
	if delete(s.left, c); len(s.left) == 0 {
		close(s.done)
	}
}

// Settle asks the connections of this moment to end when they can, and waits for
// that until ctx ends. Those that come later are served as ever. The time counts
// as part of what Close may take.
func (p *Proxy) Settle(ctx context.Context) {
	began := time.Now()
	defer func() { p.patience = max(p.patience-time.Since(began), lastWords) }()
	s := &settling{left: make(map[*conn]struct{}), done: make(chan struct{})}
	p.settle.Store(s)
	defer p.settle.Store(nil)
	s.mu.Lock()
	p.each(func(c *conn) { s.left[c] = struct{}{}; c.drain() })
	none := len(s.left) == 0
	s.mu.Unlock()
	if none {
		return
	}
	select {
	case <-s.done:
	case <-ctx.Done():
	}
}

// Close waits for established flows to end, at most Timeouts.Drain; ends what has
// no end of its own, such as a WebSocket; and then resets what is left. Listeners
// belong to their opener, who closes them first: Close waits for Serve too.
func (p *Proxy) Close() error {
	if !p.closing.Swap(true) {
		close(p.dismissed)
	}
	defer p.relay.Close()
	defer p.stop()
	done := make(chan struct{})
	go func() { p.conns.Wait(); close(done) }()
	p.each((*conn).drain)
	if within(p.patience, done) {
		return nil
	}
	p.relay.Finish()
	p.each((*conn).finish)
	if within(lastWords, done) {
		return nil
	}
	p.stop()
	p.relay.Close()
	p.each((*conn).abort)
	<-done
	return nil
}

// within waits that long for done.
func within(patience time.Duration, done <-chan struct{}) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// drain ends a connection after the request under way, or soon if there is none.
func (c *conn) drain() {
	c.final.Store(true)
	if h := c.http2.Load(); h != nil {
		h.Shutdown()
		return
	}
	c.idle.during(c.hurry)
}

// idling is whether a connection waits for its next request.
type idling struct {
	mu  sync.Mutex
	yes bool
}

func (i *idling) set(yes bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.yes = yes
}

// during calls f if the connection waits, and before it knows of a request: what is for
// one that waits must not meet that.
func (i *idling) during(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.yes {
		f()
	}
}

// hurry leaves little time for the next request, and more for the first.
func (c *conn) hurry() {
	patience := courtesy
	if c.requests.Load() == 0 {
		patience = max(courtesy, min(welcome, c.p.o.Timeouts.Drain/2))
	}
	_ = c.raw.SetReadDeadline(time.Now().Add(min(patience, c.p.o.Timeouts.Idle)))
}

// draining reports whether no request may follow the one under way.
func (c *conn) draining() bool { return c.final.Load() || c.p.closing.Load() }

// finish ends a tunnel in good order: neither side gets to read more, and both are
// told so.
func (c *conn) finish() {
	up, _ := c.up.Load().(inject.Conn)
	if up.IsZero() || !c.tunnels.Load() {
		return
	}
	_ = c.raw.SetReadDeadline(longAgo)
	_ = up.Wire().SetReadDeadline(longAgo)
}

// abort ends it at once. Both ends are closed, as a stage waits for either, and at the
// same time: who reads from one may be writing to the other meanwhile, and a close waits
// for its readers. The upstream's is closed beneath TLS, whose last alert may have to wait.
func (c *conn) abort() {
	if up, _ := c.up.Load().(inject.Conn); !up.IsZero() {
		go func() { _ = up.Wire().Close() }()
	}
	c.reset()
}
