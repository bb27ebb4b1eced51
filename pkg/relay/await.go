package relay

import (
	"time"

	"golang.org/x/sys/unix"
)

// Judge says what becomes of a connection whose far end is not known yet. A loop
// calls it, so it must not wait. Left or Over is called in the end, and only one of
// them.
type Judge interface {
	// Heard is told what the near end said first, and returns the far end, which may
	// still be connecting; false: there is none, and the near end is Left. What was
	// said is valid until it returns.
	Heard(said []byte) (far int, ok bool)

	// Left gives the near end back, with what was read from it: nothing where it said
	// nothing in time, or has ended. What was said is valid until it returns.
	Left(near int, said []byte)

	// Over says how the connection went, of which both sockets are closed.
	Over(Result)
}

// Await waits until the near end, which is Framed, has said something, for no longer
// than silence, and carries the connection on to the far end that j names. It does
// not wait until that is over. The socket is its caller's still where it returns an
// error.
func (r *Relay) Await(socket int, silence, connect time.Duration, j Judge) error {
	c := newConn(End{Socket: socket, Framed: true}, End{Socket: -1}, connect, j.Over)
	c.judge = j
	err := r.add(c, silence, near)
	if err == nil || c.forgotten() {
		return nil
	}
	return err
}

// forgotten ends a connection that could not be watched. It reports whether that
// has had an end already.
func (c *conn) forgotten() bool {
	c.mu.Lock()
	defer c.unlock()
	if c.ended {
		return true
	}
	c.ended, c.over = true, nil
	return false
}

// hear reads what the near end says first, and has it judged.
func (c *conn) hear() {
	s := &c.streams[near]
	if !s.src.readable {
		return
	}
	err := s.read(&c.loop.spare)
	if err == nil && !s.ended && !s.pending() {
		s.rest(&c.loop.spare)
		return
	}
	to, ok := 0, false
	if s.pending() {
		to, ok = c.judge.Heard(s.held)
	}
	if !ok {
		c.leave(s.held)
		return
	}
	c.judge, c.sides[far].socket = nil, to
	c.due = time.Now().Add(c.connect)
	c.ripe.Reset(c.connect)
	if err = c.greet(); err == nil {
		err = c.watch(unix.EPOLL_CTL_ADD, far)
	}
	switch {
	case err != nil:
		c.end(err)
	case c.connected:
		c.advance()
	}
}

// greet says to the far end what the near one has said, if it can: one on this host is
// connected by now. Else that has to wait.
func (c *conn) greet() error {
	s := &c.streams[near]
	s.dst.writable = true
	if err := s.write(); err != nil {
		return err
	}
	c.connected = s.dst.writable
	s.dst.wants = !c.connected
	if s.pending() {
		s.shrink(&c.loop.spare)
		return nil
	}
	s.rest(&c.loop.spare)
	return nil
}

// leave gives the near end back to the judge.
func (c *conn) leave(said []byte) {
	socket := c.sides[near].socket
	_ = unix.EpollCtl(c.loop.epoll, unix.EPOLL_CTL_DEL, socket, nil)
	c.ended, c.over = true, nil
	c.judge.Left(socket, said)
	c.streams[near].rest(&c.loop.spare)
}
