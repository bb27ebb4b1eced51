package relay

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// ErrClosed is what ended a connection that was under way at Close.
var ErrClosed = errors.New("relay: closed")

// End is one side of a connection.
type End struct {
	Socket int    // non-blocking stream socket; Run owns and closes it
	Said   []byte // what was read from it before: goes to the other side first
	Framed bool   // what it says shows whether it is whole, as TLS does: an end of stream can't pass for that of a message
}

// Result is how a connection went.
type Result struct {
	Connected bool  // the far end was reached
	Sent      int64 // bytes that the far end took, near's Said included
	Received  int64 // bytes that the near end took, far's Said included
	Err       error // what broke it; nil where each side has said all, or has gone after that
}

// Relay carries any number of connections. Its methods are for concurrent use.
type Relay struct {
	loops []loop
	next  atomic.Uint32
	begin sync.Once
	err   error // of begin
}

// New returns a Relay of so many loops: one per processor that it may fill. It
// starts nothing before the first Run.
func New(loops int) *Relay { return &Relay{loops: make([]loop, max(1, loops))} }

// Run carries a connection between a near and a far end until it is over. The far
// end may still be connecting, and gets that long for it. Both sockets are closed when Run
// returns, by a reset unless the Result has no error.
func (r *Relay) Run(a, b End, connect time.Duration) Result {
	over := make(chan Result, 1)
	c := newConn(a, b, connect, func(r Result) { over <- r })
	if err := r.add(c, connect, near, far); err != nil {
		c.abort(err)
	}
	return <-over
}

// add gives c to one of the loops.
func (r *Relay) add(c *conn, ripe time.Duration, sides ...int32) error {
	r.begin.Do(func() { r.err = r.start() })
	if r.err != nil {
		return r.err
	}
	return r.loops[int(r.next.Add(1))%len(r.loops)].add(c, ripe, sides...)
}

// Shed gives back what is kept for connections to come.
func (r *Relay) Shed() {
	for i := range r.loops {
		r.loops[i].spare.shed()
	}
}

// Finish ends the connections that may be ended in good order: those whose near
// end is Framed, and of which nothing is on its way. Both sides are told, and get
// to say so in turn.
func (r *Relay) Finish() {
	r.begin.Do(func() { r.err = ErrClosed })
	for i := range r.loops {
		r.loops[i].finish()
	}
}

// Close resets what is under way and ends the loops. A Run that comes later
// resets its ends at once.
func (r *Relay) Close() {
	r.begin.Do(func() { r.err = ErrClosed })
	for i := range r.loops {
		r.loops[i].close()
	}
}

func (r *Relay) start() error {
	var errs []error
	for i := range r.loops {
		errs = append(errs, r.loops[i].start())
	}
	return errors.Join(errs...)
}
