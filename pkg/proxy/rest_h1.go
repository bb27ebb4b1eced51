package proxy

import (
	"errors"
	"io"
	"os"
	"time"
)

// awaited is what came of waiting for a request.
type awaited uint8

const (
	nobody  awaited = iota // the connection is over
	arrived                // the first bytes of a request are here
	resting                // the workload has been silent for a while
)

// nap is how long the goroutine that served a request waits for the next one,
// before the connection goes to sleep: it then costs a small stack instead of one
// that has grown, and nothing else. A workload in full swing never comes near it.
const nap = time.Second

// awaitRequest waits for the first bytes of a request.
func (c *conn) awaitRequest(in *window) awaited {
	if len(in.bytes()) > 0 {
		return arrived
	}
	c.idle.set(true)
	c.wire.ExtendRead(min(nap, c.p.o.Timeouts.Idle))
	if c.draining() { // after the deadline, which drain may set too
		c.hurry()
	}
	err := in.await(c.client)
	c.idle.set(false)
	closing := c.draining() // after that: what drain has done shows
	switch {
	case err == nil && closing: // drain may have set a deadline that is over
		_ = c.client.SetReadDeadline(time.Now().Add(c.p.o.Timeouts.Head))
		return arrived
	case err == nil:
		return arrived
	case errors.Is(err, os.ErrDeadlineExceeded) && !closing:
		return resting
	}
	c.left = errors.Is(err, io.EOF) // it may have gone altogether: then there is nobody to tell
	c.gone = c.left && c.wire.HungUp()
	return nobody
}

// sleep waits for a workload that rests. It is the bottom of a new goroutine.
// Nothing of the workload's is held by TLS: a Read just found nothing.
func (c *conn) sleep() stage {
	c.idle.set(true)
	_ = c.wire.SetReadDeadline(time.Now().Add(max(c.p.o.Timeouts.Idle-nap, 0)))
	if c.draining() {
		c.hurry()
	}
	err := c.wire.Await()
	c.idle.set(false)
	if err != nil {
		return c.endHTTP1()
	}
	return c.serveHTTP1()
}
