package h2

import (
	"encoding/binary"

	"golang.org/x/net/http2"
)

// data takes a DATA frame (RFC 9113 section 6.1).
func (r *reader) data(h *frameHeader, p []byte) error {
	if h.id == 0 {
		return protocol("DATA on stream 0")
	}
	body, ok := unpad(h.flags, p)
	if !ok {
		return protocol("DATA with more padding than payload")
	}
	end := h.flags.Has(http2.FlagDataEndStream)
	s, err := r.admit(h, len(p), len(body), end)
	if s == nil || err != nil {
		return err
	}
	if code, flaw := s.measure(len(body), end); flaw != "" {
		return r.fail(h.id, s, code, flaw)
	}
	if s.handler == nil {
		s.Consumed(&r.batch, len(body))
		return r.endOf(s, end)
	}
	if len(body) > 0 || end {
		r.tell(s, Event{Kind: Data, Data: body, End: end})
	}
	return r.endOf(s, end)
}

// admit books the frame against the windows and returns the stream it is for;
// nil where the frame is dropped.
func (r *reader) admit(h *frameHeader, length, body int, end bool) (*Stream, error) {
	c := r.c
	c.mu.Lock()
	if c.given -= length; c.given < 0 {
		c.mu.Unlock()
		return nil, &ConnError{Code: http2.ErrCodeFlowControl, Detail: "more DATA than the connection's window"}
	}
	s := c.streams[h.id]
	if s == nil || s.recvEnd {
		idle, forgiven := c.idle(h.id), c.forgiven(h.id)
		announced := c.restore(length)
		c.mu.Unlock()
		return nil, r.stray(h.id, s, idle, forgiven, announced)
	}
	s.held += length
	if s.given -= length; s.given < 0 {
		c.mu.Unlock()
		return nil, r.fail(h.id, s, http2.ErrCodeFlowControl, "more DATA than the stream's window")
	}
	announced := s.consumed(length - body)
	var err error
	if body > 0 {
		c.flood.useful(body)
	} else if !end {
		err = c.noisy()
	}
	c.mu.Unlock()
	if announced {
		r.batch.note(c)
	}
	return s, err
}

// stray answers DATA for a stream that does not take any.
func (r *reader) stray(id uint32, s *Stream, idle, forgiven, announced bool) error {
	if announced {
		r.batch.note(r.c)
	}
	if idle {
		return protocol("DATA on a stream that was never opened")
	}
	if s == nil && forgiven {
		return r.late()
	}
	return r.fail(id, s, http2.ErrCodeStreamClosed, "DATA behind the end of the stream")
}

// late counts a frame for a stream that we have reset. A server's may be many
// without any fault of its own: they were under way.
func (r *reader) late() error {
	if !r.c.server {
		return nil
	}
	return r.noisy()
}

func (r *reader) noisy() error {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	return r.c.noisy()
}

// measure holds what came against what was promised (RFC 9113 section 8.1.1).
func (s *Stream) measure(n int, end bool) (http2.ErrCode, string) {
	s.got += int64(n)
	switch {
	case !s.headDone:
		return http2.ErrCodeProtocol, "DATA before the head"
	case s.noBody && n > 0:
		return http2.ErrCodeProtocol, "content where there can be none"
	case s.noBody || s.length < 0:
	case s.got > s.length:
		return http2.ErrCodeProtocol, "more content than content-length"
	case end && s.got < s.length:
		return http2.ErrCodeProtocol, "less content than content-length"
	}
	return 0, ""
}

// endOf notes that the peer has ended the stream. It comes after the event, so
// that the stream is not forgotten before its handler has seen the end.
func (r *reader) endOf(s *Stream, end bool) error {
	if !end {
		return nil
	}
	c := r.c
	c.mu.Lock()
	s.recvEnd = true
	s.finish()
	c.mu.Unlock()
	return nil
}

// windowUpdate takes a WINDOW_UPDATE frame (RFC 9113 section 6.9).
func (r *reader) windowUpdate(h *frameHeader, p []byte) error {
	if len(p) != 4 {
		return frameSize("WINDOW_UPDATE is not 4 bytes")
	}
	n := int(binary.BigEndian.Uint32(p) & maxWindow)
	if h.id != 0 {
		return r.streamWindow(h.id, n)
	}
	c := r.c
	c.mu.Lock()
	c.window += n
	over := c.window > maxWindow
	c.pump()
	err := c.noisy()
	notes := c.takeNotes()
	c.mu.Unlock()
	switch {
	case n == 0:
		return protocol("WINDOW_UPDATE of 0")
	case over:
		return errLargeWindow
	}
	r.pumped(notes)
	return err
}

func (r *reader) streamWindow(id uint32, n int) error {
	c := r.c
	c.mu.Lock()
	s := c.streams[id]
	if s == nil {
		idle, err := c.idle(id), c.noisy()
		c.mu.Unlock()
		if idle {
			return protocol("WINDOW_UPDATE on a stream that was never opened")
		}
		return err
	}
	if n == 0 || s.window+n > maxWindow {
		c.mu.Unlock()
		if n == 0 {
			return r.fail(id, s, http2.ErrCodeProtocol, "WINDOW_UPDATE of 0")
		}
		return r.fail(id, s, http2.ErrCodeFlowControl, "a window of more than 2^31-1")
	}
	s.window += n
	s.wait()
	c.pump()
	err := c.noisy()
	notes := c.takeNotes()
	c.mu.Unlock()
	r.pumped(notes)
	return err
}

// pumped follows a pump: what left must be flushed, and the handlers told.
func (r *reader) pumped(notes []note) {
	if len(notes) > 0 {
		r.batch.note(r.c)
		deliver(&r.batch, notes)
	}
}
