package proxy

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/http1"
)

// upload sends content to the upstream while the response may already come.
type upload struct {
	x    *exchange
	stop atomic.Bool
	done chan *failure

	// The workload did not bring the content to its end. It is set before the upstream
	// can know: a deadline alone is too late for a read that was let through before it.
	broken atomic.Bool

	came atomic.Bool // all of the workload's content is here

	mu    sync.Mutex
	begun bool // the final head of the response is here

	n    int64  // bytes that were sent
	got  int64  // and of the workload's content
	next []byte // what the workload sent behind the content

	notTaken bool // the upstream broke it off; what it has to say may still be read
}

func (x *exchange) startUpload() *upload {
	u := &upload{x: x, done: make(chan *failure, 1)}
	go u.run()
	return u
}

// run reads, checks and writes until the content ends; from then on the time
// for a response runs. If the workload can't bring the content to its end, the
// upstream must not take what it has for a whole request, and the relay must
// not wait for a response to it: the connection is closed under both.
func (u *upload) run() {
	up := u.x.to
	f := u.copy()
	if f == nil || u.notTaken {
		u.awaitResponse(up)
		u.done <- f
		return
	}
	u.done <- f // first, so that the relay's end is not taken for the cause
	u.broken.Store(true)
	_ = up.SetReadDeadline(longAgo)
	_ = up.Close()
}

// awaitResponse gives the upstream time for a response. One that has begun gets its
// time piece by piece, from the relay, and that may be another.
func (u *upload) awaitResponse(up net.Conn) {
	u.x.c.vigil.begin()
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.begun {
		_ = up.SetReadDeadline(time.Now().Add(u.x.c.p.o.Timeouts.Response))
	}
}

// begins says that there is a response; nil: nothing is sent.
func (u *upload) begins() {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.begun = true
}

// whole reports whether all of the content has come.
func (u *upload) whole() bool { return u == nil || u.came.Load() }

// slowest is how much of announced content has to come within BodyStall.
const slowest = 1 << 10

// awaitContent gives the workload time for more content; got is what came.
// Content whose length is announced is there already, so who sends it in
// trickles only holds the connection and gets no more time for each. Chunks may
// be events, and those may wait.
func (x *exchange) awaitContent(got int64) {
	if x.req.Body == http1.BodyLength && got < x.owed {
		return
	}
	x.owed = got + slowest
	x.c.wire.ExtendRead(x.c.p.o.Timeouts.BodyStall)
}

func (u *upload) copy() (f *failure) {
	x := u.x
	x.c.wire.Feed(x.up.Wire())
	defer func() {
		if err := x.c.wire.Starve(); err != nil {
			u.notTaken = true
			f = upstreamBroke(err)
		}
	}()
	buf := bulk.get()
	defer bulk.put(buf)
	for done := false; !done; {
		x.awaitContent(u.got)
		if f := u.stopped(); f != nil {
			return f
		}
		got, err := x.c.client.Read(*buf)
		if got == 0 && err != nil {
			return readFailure(err)
		}
		n, ended, f := u.scan((*buf)[:got])
		if f != nil {
			return f
		}
		u.got += int64(n)
		u.came.Store(ended) // before the upstream can answer it
		if f := u.send((*buf)[:n]); f != nil {
			return f
		}
		if done = ended; done {
			u.next = append(u.next, (*buf)[n:got]...)
		}
	}
	return nil
}

// stopped is asked after time was given for a read or a write, which may have undone
// that finish took it.
func (u *upload) stopped() *failure {
	if !u.stop.Load() {
		return nil
	}
	return refusal(flow.ReasonUpstreamClosed, "the upstream answered before the end of the body")
}

// scan finds the content in what was read, and rewrites it where the route does.
func (u *upload) scan(p []byte) (n int, ended bool, f *failure) {
	x := u.x
	if x.rewrite == nil {
		n, ended, err := x.body.Scan(p, nil)
		if err != nil {
			return n, ended, requestFailure(err)
		}
		return n, ended, nil
	}
	n, ended, err := x.body.Scan(p, func(p []byte) {
		if f == nil {
			f = x.rewrite.take(p, false)
		}
	})
	switch {
	case err != nil:
		return n, ended, requestFailure(err)
	case f == nil && ended:
		f = x.rewrite.take(nil, true)
	}
	return n, ended, f
}

// send writes content, or what the route has made of it by now.
func (u *upload) send(p []byte) *failure {
	x := u.x
	if x.rewrite != nil {
		p = x.rewrite.leaves()
	}
	x.up.Wire().ExtendWrite(x.c.p.o.Timeouts.BodyStall)
	if f := u.stopped(); f != nil {
		return f
	}
	sent, err := x.to.Write(p)
	u.n += int64(sent)
	if err != nil {
		u.notTaken = true
		return upstreamBroke(err)
	}
	return nil
}

// finish waits for the upload, or ends it by force where the response was over
// first, and tells what became of the exchange: relayed is what the relay says.
// A whole response stands, however much of the content it was an answer to;
// the connections do not, unless all of it was sent.
func (u *upload) finish(relayed *failure) *failure {
	x := u.x
	forced := false
	var f *failure
	select {
	case f = <-u.done:
	default:
		forced = true
		u.stop.Store(true)
		_ = x.c.client.SetReadDeadline(longAgo)
		_ = x.to.SetWriteDeadline(longAgo)
		f = <-u.done
	}
	x.bytesOut += u.n
	x.next = append(x.next, u.next...)
	if f == nil {
		return relayed
	}
	x.more, x.reusable = false, false
	if !forced && !u.notTaken && (relayed == nil || !x.answered) {
		return f
	}
	return relayed
}
