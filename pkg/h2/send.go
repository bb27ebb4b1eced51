package h2

import (
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Everything here is called with mu held.

// sendBlock puts a field section into the buffer.
func (s *Stream) sendBlock(fields []hpack.HeaderField, end bool) {
	c := s.c
	if c.unread() {
		return // the connection is about to end, and its streams with it
	}
	block := c.enc.encode(fields)
	c.reserve(len(block) + smallFrames)
	c.out = appendBlock(c.out, block, s.id, end, maxFrame)
	if end {
		s.ended()
	}
}

// ended notes that END_STREAM is in the buffer.
func (s *Stream) ended() {
	s.endAsked, s.sendEnd = true, true
	s.finish()
	if s.polite && !s.gone {
		s.reset(http2.ErrCodeNo)
	}
}

// sendData puts as much of p into the buffer as windows and buffer have room
// for, with END_STREAM on its last byte if end.
func (s *Stream) sendData(p []byte, end bool) (taken int) {
	c := s.c
	if len(p) == 0 {
		if end {
			c.reserve(smallFrames)
			c.out = appendHeader(c.out, 0, http2.FrameData, http2.FlagDataEndStream, s.id)
			s.ended()
		}
		return 0
	}
	if !c.ready.empty() {
		return 0 // others wait for the same room
	}
	for len(p) > 0 && len(c.out) < highWater {
		n := s.sendFrame(p, end)
		if n == 0 {
			break
		}
		taken += n
		p = p[n:]
	}
	return taken
}

// sendFrame sends one DATA frame, if the windows let it.
func (s *Stream) sendFrame(p []byte, end bool) int {
	c := s.c
	n := min(len(p), maxFrame, s.window, c.window)
	if n <= 0 {
		return 0
	}
	flags := http2.Flags(0)
	if end && n == len(p) {
		flags = http2.FlagDataEndStream
	}
	c.reserve(headerLen + n)
	c.out = appendHeader(c.out, n, http2.FrameData, flags, s.id)
	c.out = append(c.out, p[:n]...)
	s.window -= n
	c.window -= n
	c.flood.useful(n)
	if flags != 0 {
		s.ended()
	}
	return n
}

// wait queues the stream if it has something that the connection might let go.
func (s *Stream) wait() {
	if s.queued || s.gone || s.pending.len() == 0 || s.window <= 0 {
		return
	}
	s.c.ready.push(s)
}

// pump sends what the streams keep, a frame of each in turn.
func (c *Conn) pump() {
	for c.window > 0 && len(c.out) < highWater {
		s := c.ready.pop()
		if s == nil {
			return
		}
		if n := s.sendPending(); n > 0 {
			s.moved = c.ticks
			c.note(s, n)
		}
		s.wait()
	}
}

// sendPending sends one frame of what is kept, and what stands behind it.
func (s *Stream) sendPending() int {
	if s.gone {
		return 0
	}
	p := s.pending.first()
	n := s.sendFrame(p, len(p) == s.pending.len() && s.endAsked && s.trailers == nil)
	s.pending.take(n)
	if s.pending.len() == 0 && s.trailers != nil && !s.gone {
		fields := s.trailers
		s.trailers = nil
		s.sendBlock(fields, true)
	}
	return n
}

// note is a Room event that waits for mu to be free.
type note struct {
	s *Stream
	n int
}

func (c *Conn) note(s *Stream, n int) {
	if i := len(c.notes) - 1; i >= 0 && c.notes[i].s == s {
		c.notes[i].n += n
		return
	}
	c.notes = append(c.notes, note{s, n})
}

// consumed gives n bytes of window back and reports whether that was announced
// to the peer. It waits until it is worth a frame.
func (s *Stream) consumed(n int) bool {
	n = min(n, s.held)
	s.held -= n
	announced := s.c.restore(n)
	s.credit += n
	if s.gone || s.recvEnd || s.credit < s.wide/2 {
		return announced
	}
	n = s.credit + s.grow()
	s.c.reserve(smallFrames)
	s.c.out = appendWindowUpdate(s.c.out, s.id, n)
	s.given += n
	s.credit = 0
	return true
}

// grow widens the window of a stream whose handler keeps up, since then it is
// the distance to the peer that asks for more and not memory. It returns by how
// much.
func (s *Stream) grow() int {
	c := s.c
	if s.held > 0 {
		return 0
	}
	n := max(0, min(s.wide, widestStream-s.wide, c.o.Growth-c.grown))
	s.wide += n
	c.grown += n
	return n
}

// restore gives n bytes of the connection's window back.
func (c *Conn) restore(n int) bool {
	c.credit += n
	if c.dead || c.credit < c.o.ConnWindow/2 {
		return false
	}
	c.reserve(smallFrames)
	c.out = appendWindowUpdate(c.out, 0, c.credit)
	c.given += c.credit
	c.credit = 0
	return true
}
