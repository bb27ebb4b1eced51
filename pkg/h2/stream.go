package h2

import (
	"errors"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Stream is one request and its response. Its methods may be called from any
// goroutine and never wait.
type Stream struct {
	c       *Conn
	id      uint32
	handler Handler // set before the stream is seen by anybody else

	// Of the reader's goroutine alone.
	length   int64 // Content-Length of what comes, -1 without
	got      int64 // bytes of it that came
	noBody   bool  // what comes may have no content whatever its Content-Length (RFC 9110 section 6.4.1)
	headDone bool  // the final head came
	interim  int   // heads of status 1xx that came

	// Under c.mu.
	gone     bool // both sides have ended, or it was reset
	recvEnd  bool
	wide     int  // its receive window
	given    int  // bytes the peer may still send
	held     int  // bytes that came and were not consumed
	credit   int  // consumed, not yet announced
	window   int  // bytes we may still send
	headSent bool // the final head has been written
	endAsked bool // the end is written, or will be behind pending
	sendEnd  bool // END_STREAM is in the buffer
	queued   bool // in c.ready
	polite   bool // reset without error once the end has left
	pending  pending
	trailers []hpack.HeaderField
	moved    int // the tick in which pending last moved
}

// ID is the stream's number on its connection.
func (s *Stream) ID() uint32 { return s.id }

// Open sends a request: fields with the pseudo-fields first, and the end of the
// stream if there is no body. h is told of the response. Errors are ErrBusy,
// ErrLeaving, or why the connection ended; the request has not left then.
func (c *Conn) Open(b *Batch, h Handler, fields []hpack.HeaderField, end bool) (*Stream, error) {
	c.mu.Lock()
	if err := c.refuses(); err != nil {
		c.mu.Unlock()
		return nil, err
	}
	s := c.newStream(c.nextOurs, h)
	c.nextOurs += 2
	s.noBody = method(fields) == "HEAD"
	s.headSent = true
	c.count()
	s.sendBlock(fields, end)
	c.mu.Unlock()
	settle(b, c)
	return s, nil
}

// refuses says why no stream can be opened. mu is held.
func (c *Conn) refuses() error {
	switch {
	case c.err != nil && !errors.Is(c.err, errGone) && !errors.Is(c.err, ErrIdle):
		return c.err
	case c.dead || c.err != nil || c.leaving || c.nextOurs > largestID:
		return ErrLeaving
	case len(c.streams) >= c.peerStreams:
		return ErrBusy
	}
	return nil
}

func method(fields []hpack.HeaderField) string {
	for i := range fields {
		if fields[i].Name == ":method" {
			return fields[i].Value
		}
	}
	return ""
}

// newStream enters a stream. mu is held.
func (c *Conn) newStream(id uint32, h Handler) *Stream {
	s := &Stream{c: c, id: id, handler: h, length: -1, wide: c.o.StreamWindow, given: c.o.StreamWindow, window: c.peerWindow}
	if !c.confirmed {
		s.given = max(s.given, initialWindow)
	}
	c.streams[id] = s
	return s
}

// WriteHead sends the head of a response; of status 1xx it may send several
// before it.
func (s *Stream) WriteHead(b *Batch, fields []hpack.HeaderField, end bool) error {
	c := s.c
	c.mu.Lock()
	if s.gone || s.headSent {
		c.mu.Unlock()
		return ErrStream
	}
	s.headSent = len(fields) == 0 || len(fields[0].Value) == 0 || fields[0].Value[0] != '1'
	s.sendBlock(fields, end)
	c.mu.Unlock()
	settle(b, c)
	return nil
}

// Write sends p, and the end of the stream behind it. It takes all of p; taken
// is how much of it has left, and Room events report the rest as it leaves.
func (s *Stream) Write(b *Batch, p []byte, end bool) (taken int, err error) {
	c := s.c
	c.mu.Lock()
	if s.gone || !s.headSent || s.endAsked {
		c.mu.Unlock()
		return 0, ErrStream
	}
	s.endAsked = end
	if s.pending.len() == 0 {
		taken = s.sendData(p, end)
	}
	if taken < len(p) {
		if s.pending.len() == 0 {
			s.moved = c.ticks
		}
		s.pending.add(p[taken:])
	}
	s.wait()
	c.mu.Unlock()
	settle(b, c)
	return taken, nil
}

// WriteTrailers ends the stream with a field section.
func (s *Stream) WriteTrailers(b *Batch, fields []hpack.HeaderField) error {
	c := s.c
	c.mu.Lock()
	if s.gone || !s.headSent || s.endAsked {
		c.mu.Unlock()
		return ErrStream
	}
	s.endAsked = true
	if s.pending.len() == 0 {
		s.sendBlock(fields, true)
	} else {
		s.trailers = append([]hpack.HeaderField(nil), fields...)
	}
	c.mu.Unlock()
	settle(b, c)
	return nil
}

// Consumed says that n bytes of Data events are dealt with: the peer may send as
// many again.
func (s *Stream) Consumed(b *Batch, n int) {
	c := s.c
	c.mu.Lock()
	announced := s.consumed(n)
	c.mu.Unlock()
	if announced {
		settle(b, c)
	}
}

// Reset ends the stream at once, and what is kept of it is dropped. But with
// http2.ErrCodeNo, which says that the message is whole and the peer's rest is not
// wanted (RFC 9113 section 8.1), it waits for what was written. No Closed event
// comes of it.
func (s *Stream) Reset(b *Batch, code http2.ErrCode) {
	c := s.c
	c.mu.Lock()
	switch {
	case s.gone: // what its handler holds yet of one that both sides have ended is given up
		s.consumed(s.held)
	case code == http2.ErrCodeNo && s.endAsked && !s.sendEnd:
		s.polite = true
	default:
		s.reset(code)
	}
	c.mu.Unlock()
	settle(b, c)
}

// reset sends RST_STREAM and forgets the stream. mu is held.
func (s *Stream) reset(code http2.ErrCode) {
	s.c.out = appendReset(s.c.out, s.id, code)
	s.c.forgive(s.id)
	s.remove()
}

// remove takes the stream off the connection. What it holds of the connection's
// window is given back, for nobody consumes it any more. mu is held.
func (s *Stream) remove() {
	s.consumed(s.held)
	s.kill()
	c := s.c
	delete(c.streams, s.id)
	c.count()
	if len(c.streams) == 0 {
		c.rest()
	}
}

// kill marks the stream as gone and frees what it keeps. mu is held.
func (s *Stream) kill() {
	s.gone = true
	s.pending.drop()
	s.trailers = nil
	s.c.grown -= s.wide - s.c.o.StreamWindow
	s.wide = s.c.o.StreamWindow
}

// finish removes a stream that both sides have ended. mu is held.
func (s *Stream) finish() {
	if !s.recvEnd || !s.sendEnd || s.gone {
		return
	}
	s.c.flood.good()
	held := s.held
	s.held = 0
	s.remove()
	s.held = held // still with the handler; Consumed gives it back
}

// tell hands an event to the handler, if there is one. mu is not held.
func (s *Stream) tell(b *Batch, e *Event) {
	if s.handler != nil {
		s.handler.Handle(s, e)
	}
}
