package relay

import (
	"cmp"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The two sides of a connection.
const (
	near = iota
	far
	front // what is no side: a listener
)

// side is one socket, and what is known of it.
type side struct {
	socket             int
	readable, writable bool
	last               bool // an end of stream or an error lies behind what is readable
	whole              bool // it is an end of stream, and all that was said before it is readable
	urgent             bool // a read may stop short of what is readable: it does at urgent data
	broken             bool // it says and hears nothing more
	wants              bool // it is watched for room to write, too
}

// note takes what events say.
func (s *side) note(events uint32) {
	const ends = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	s.readable = s.readable || events&(unix.EPOLLIN|ends) != 0
	s.writable = s.writable || events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0
	s.last = s.last || events&ends != 0
	s.urgent = s.urgent || events&unix.EPOLLPRI != 0
	s.broken = s.broken || events&unix.EPOLLERR != 0
	s.whole = s.whole || events&unix.EPOLLRDHUP != 0 && !s.broken && !s.urgent
}

// conn is one connection. Its lock is held by the loop while events are handled,
// and by who aborts it.
type conn struct {
	mu        sync.Mutex
	sides     [2]side
	streams   [2]stream // by the side that they read from
	judge     Judge     // nil: the far end is there
	connect   time.Duration
	framed    bool
	connected bool
	lasts     bool  // for longer than it may take to connect
	asked     bool  // the near end is probed
	broke     bool  // one side did, and the other has not taken all that it said
	left      int64 // what had been moved when time was given for that
	ended     bool
	told      bool // and over was called
	result    Result
	over      func(Result) // nil: nobody asks

	loop *loop // nil: not watched
	id   uint32
	ripe *time.Timer
	due  time.Time // when the time that it measures is over
}

func newConn(a, b End, connect time.Duration, over func(Result)) *conn {
	c := &conn{connect: connect, over: over, framed: a.Framed}
	c.sides[near] = side{socket: a.Socket, writable: true} // it is found out when that is wrong
	c.sides[far] = side{socket: b.Socket, wants: true}     // which tells that it is connected
	c.streams[near] = stream{src: &c.sides[near], dst: &c.sides[far], held: a.Said}
	c.streams[far] = stream{src: &c.sides[far], dst: &c.sides[near], held: b.Said}
	return c
}

// begin makes c one of a loop's. It cannot be over before its sides are watched, when
// their descriptors could be another's.
func (c *conn) begin(l *loop, id uint32, ripe time.Duration, sides []int32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loop, c.id, c.due = l, id, time.Now().Add(ripe)
	c.ripe = time.AfterFunc(ripe, c.ripen)
	return c.watch(unix.EPOLL_CTL_ADD, sides...)
}

// watch adds sides to the epoll set, or asks anew for events of such that are
// there.
func (c *conn) watch(op int, sides ...int32) error {
	for _, s := range sides {
		e := unix.EpollEvent{Events: edges, Fd: int32(c.id), Pad: s}
		if c.sides[s].wants {
			e.Events |= unix.EPOLLOUT
		}
		if err := unix.EpollCtl(c.loop.epoll, op, c.sides[s].socket, &e); err != nil {
			return os.NewSyscallError("epoll_ctl", err)
		}
	}
	return nil
}

// handle takes note of events of a side and moves what can be moved.
func (c *conn) handle(which int32, events uint32) {
	c.mu.Lock()
	defer c.unlock()
	if c.ended {
		return
	}
	c.sides[which].note(events)
	switch {
	case c.judge != nil:
		c.hear()
	case c.deaf(which):
		c.end(nil)
	case c.connected || c.reached(which, events):
		c.advance()
		c.inherit(which)
	}
}

// inherit gives the other side time to take what one has left that broke. Who takes
// nothing of it any more would else keep the connection for ever: no event follows.
func (c *conn) inherit(which int32) {
	if s := &c.streams[which]; !s.src.broken || !s.pending() || c.broke || c.ended {
		return
	}
	c.broke = true
	c.extend()
}

// extend waits six times as long as it may take to connect.
func (c *conn) extend() {
	patience := 6 * c.connect
	c.left, c.due = c.moved(), time.Now().Add(patience)
	c.ripe.Reset(patience)
}

func (c *conn) moved() int64 { return c.streams[near].moved + c.streams[far].moved }

// unlock lets go of the lock and tells, once, that the connection is over.
func (c *conn) unlock() {
	last := c.ended && !c.told
	c.told = c.ended
	c.mu.Unlock()
	if !last {
		return
	}
	if c.loop != nil {
		c.ripe.Stop()
		c.loop.remove(c)
	}
	if c.over != nil {
		c.over(c.result)
	}
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
		before := s.moved
		more, err := s.move(&c.loop.spare)
		c.loop.surge.note(s.moved - before)
		if err == nil && more {
			err = c.watch(unix.EPOLL_CTL_MOD, int32(i))
		}
		if err == nil && !s.dst.writable && !s.dst.wants {
			s.dst.wants = true
			err = c.watch(unix.EPOLL_CTL_MOD, int32(1-i))
		}
		if err != nil {
			c.end(err)
			return
		}
	}
	if c.streams[near].over() && c.streams[far].over() {
		c.end(nil)
		return
	}
	c.streams[near].passEnd()
	c.streams[far].passEnd()
	c.askNear()
}

// askNear has a near end probed that has ended its side, or has more to say than its
// server takes. It may have closed altogether, and waits for nothing: its kernel forgets it
// after some time, and says so when it is asked. A server that never ends, or never reads,
// would else keep the connection for ever. For one that does not last that is nothing to ask.
func (c *conn) askNear() {
	if s := &c.streams[near]; c.lasts && !c.asked && (s.told || s.pending()) {
		c.asked = true
		keepAlive(c.sides[near].socket, 5)
	}
}

// deaf reports whether a side that has said all, which was passed on, has gone. What
// the other still says has nowhere to go; once its socket is closed, its kernel hears
// so when it does.
func (c *conn) deaf(which int32) bool { return c.sides[which].broken && c.streams[which].told }

// ripen is called when the time to speak, or then that to connect, is over. A
// connection that has lasted so long may stay, and gets probes on its way: the far
// end, or what keeps state on the way to it, may vanish without a word. The near end
// is on this host, whose kernel never leaves without one; but see askNear.
func (c *conn) ripen() {
	c.mu.Lock()
	defer c.unlock()
	switch {
	case c.ended, time.Now().Before(c.due): // it went off, and then the near end spoke
	case c.judge != nil:
		c.leave(nil)
	case c.broke && c.moved() == c.left:
		c.end(unix.ECONNRESET)
	case c.broke:
		c.extend()
	case c.connected:
		c.lasts = true
		keepAlive(c.sides[far].socket, 15)
		c.askNear()
	default:
		c.end(os.ErrDeadlineExceeded)
	}
}

// abort ends the connection for a reason of ours.
func (c *conn) abort(why error) {
	c.mu.Lock()
	defer c.unlock()
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
		if c.sides[i].socket < 0 {
			continue
		}
		if err != nil {
			resetOnClose(c.sides[i].socket)
		}
		closeSocket(c.sides[i].socket)
	}
}
