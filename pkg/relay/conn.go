package relay

import (
	"cmp"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// The two sides of a connection.
const (
	near = iota
	far
)

// side is one socket, and what is known of it.
type side struct {
	socket             int
	readable, writable bool
	last               bool // an end of stream or an error lies behind what is readable
}

// conn is one connection. Its lock is held by the loop while events are handled,
// and by who aborts it.
type conn struct {
	mu        sync.Mutex
	sides     [2]side
	streams   [2]stream // by the side that they read from
	framed    bool
	connected bool
	ended     bool
	result    Result
	over      chan struct{}

	loop *loop // nil: not watched
	id   uint32
}

func newConn(a, b End) *conn {
	c := &conn{over: make(chan struct{}), framed: a.Framed}
	c.sides[near].socket, c.sides[far].socket = a.Socket, b.Socket
	c.streams[near] = stream{src: &c.sides[near], dst: &c.sides[far], held: a.Said}
	c.streams[far] = stream{src: &c.sides[far], dst: &c.sides[near], held: b.Said}
	return c
}

// watch adds sides to the epoll set, or asks anew for events of such that are
// there.
func (c *conn) watch(op int, sides ...int32) error {
	for _, s := range sides {
		e := unix.EpollEvent{Events: edges, Fd: int32(c.id), Pad: s}
		if err := unix.EpollCtl(c.loop.epoll, op, c.sides[s].socket, &e); err != nil {
			return os.NewSyscallError("epoll_ctl", err)
		}
	}
	return nil
}

// handle takes note of events of a side and moves what can be moved.
func (c *conn) handle(which int32, events uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	const ends = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	s := &c.sides[which]
	s.readable = s.readable || events&(unix.EPOLLIN|ends) != 0
	s.writable = s.writable || events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0
	s.last = s.last || events&ends != 0
	if !c.connected && !c.reached(which, events) {
		return
	}
	c.advance()
}

// reached reports whether the far side is connected; if it cannot be, that is
// the end.
func (c *conn) reached(which int32, events uint32) bool {
	switch {
	case which != far || events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) == 0:
		return false
	case events&(unix.EPOLLERR|unix.EPOLLHUP) == 0:
		c.connected = true
		return true
	}
	c.end(cmp.Or(socketError(c.sides[far].socket), net.ErrClosed))
	return false
}

// advance moves what can be moved, and ends the connection when both streams
// have ended.
func (c *conn) advance() {
	for i := range c.streams {
		s := &c.streams[i]
		more, err := s.move(&c.loop.spare)
		if err == nil && more {
			err = c.watch(unix.EPOLL_CTL_MOD, int32(i))
		}
		if err != nil {
			c.end(err)
			return
		}
	}
	switch {
	case c.streams[near].over() && c.streams[far].over():
		c.end(nil)
	default:
		c.streams[near].passEnd()
		c.streams[far].passEnd()
	}
}

// ripen is called when the time to connect is over. A connection that has lasted
// so long may stay, and gets probes on its way: the far end, or what keeps state
// on the way to it, may vanish without a word. The near end is on this host,
// whose kernel never leaves without one.
func (c *conn) ripen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ended:
	case c.connected:
		keepAlive(c.sides[far].socket)
	default:
		c.end(os.ErrDeadlineExceeded)
	}
}

// abort ends the connection for a reason of ours.
func (c *conn) abort(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(why)
}

// finish tells both sides that nothing more will come. What they say from then on
// goes nowhere, which resets them; an end of stream ends them.
func (c *conn) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || !c.connected || !c.framed || c.streams[near].pending() || c.streams[far].pending() {
		return
	}
	for i := range c.sides {
		shutdown(c.sides[i].socket)
	}
}

// end closes both sockets, which resets them where something went wrong.
func (c *conn) end(err error) {
	if c.ended {
		return
	}
	c.ended = true
	c.result = Result{Connected: c.connected, Sent: c.streams[near].moved, Received: c.streams[far].moved, Err: err}
	for i := range c.sides {
		if c.loop != nil {
			c.streams[i].rest(&c.loop.spare)
		}
		if err != nil {
			resetOnClose(c.sides[i].socket)
		}
		closeSocket(c.sides[i].socket)
	}
	close(c.over)
}
