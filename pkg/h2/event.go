package h2

import (
	"time"

	"golang.org/x/net/http2/hpack"
)

// Kind says what happened on a stream.
type Kind uint8

// The kinds of events, in the order in which a stream has them.
const (
	Head     Kind = iota + 1 // a request's or response's field section; of responses also those of status 1xx
	Data                     // a piece of the body, or its end alone
	Trailers                 // the field section behind the body; End is set
	Room                     // N more bytes of what Write kept have left
	Closed                   // the stream died before both sides had ended; nothing follows
	Tick                     // time has passed on an open stream; see Options.Patience
)

// Event is one thing that happened on a stream. It and its slices are valid
// during the call alone.
type Event struct {
	Kind    Kind
	End     bool                // Head, Data, Trailers: the peer sends no more, and its message is whole
	Status  int                 // Head of a response
	N       int                 // Room
	Passed  time.Duration       // Tick: since the one before
	Fields  []hpack.HeaderField // Head and Trailers, as received, pseudo-fields included
	Data    []byte              // Data
	Request *Request            // Head of a request
	Err     error               // Closed: *StreamError, *ConnError, ErrLeaving, ErrStalled, or why the connection ended
	Batch   *Batch              // for what the handler calls; flushed soon after it has returned
}

// Request is the control data of a request (RFC 9113 section 8.3.1). Its strings
// may be kept.
type Request struct {
	Method, Scheme, Authority, Path string // Authority is Host's value where :authority is absent; Path is raw, with the query
	Length                          int64  // Content-Length, -1 without one
}

// Handler is told what happens on a stream. It must not wait: it runs on the
// reader of its connection.
type Handler interface {
	Handle(s *Stream, e *Event)
}

// Batch gathers the connections that were written to, so that each is flushed
// once. It belongs to one goroutine.
type Batch struct{ conns []*Conn }

func (b *Batch) note(c *Conn) {
	for i := len(b.conns) - 1; i >= 0; i-- {
		if b.conns[i] == c {
			return
		}
	}
	b.conns = append(b.conns, c)
}

// Flush sends what was written to the batch's connections. It does not wait.
func (b *Batch) Flush() {
	for i, c := range b.conns {
		c.flush()
		b.conns[i] = nil
	}
	b.conns = b.conns[:0]
}

// settle notes c in b, or flushes it if there is no b.
func settle(b *Batch, c *Conn) {
	if b == nil {
		c.flush()
		return
	}
	b.note(c)
}
