package proxy

import (
	"sync/atomic"

	"github.com/outwarden/outwarden/pkg/flow"
)

// upload sends content to the upstream while the response may already come.
type upload struct {
	x    *exchange
	stop atomic.Bool
	done chan *failure
	n    int64
	next []byte // what the workload sent behind the content
}

func (x *exchange) startUpload() *upload {
	u := &upload{x: x, done: make(chan *failure, 1)}
	go u.run()
	return u
}

// run reads, checks and writes until the content ends. If it can't, the
// upstream must not take what it has for a whole request, and the relay must
// not wait for a response to it.
func (u *upload) run() {
	f := u.copy()
	if f != nil {
		_ = u.x.up.SetReadDeadline(longAgo)
	}
	u.done <- f
}

func (u *upload) copy() *failure {
	x, stall := u.x, u.x.c.p.o.Timeouts.BodyStall
	buf := bulk.get()
	defer bulk.put(buf)
	for done := false; !done; {
		x.clientPatience.extendRead(x.c.client, stall)
		if u.stop.Load() {
			return &failure{0, flow.ReasonUpstreamClosed, "the upstream answered before the end of the body"}
		}
		got, err := x.c.client.Read(*buf)
		if got == 0 && err != nil {
			return readFailure(err)
		}
		n, ended, err := x.body.Scan((*buf)[:got], nil)
		if err != nil {
			return requestFailure(err)
		}
		x.upPatience.extendWrite(x.up, stall)
		if _, err := x.up.Write((*buf)[:n]); err != nil {
			return upstreamBroke(err)
		}
		u.n += int64(n)
		if done = ended; done {
			u.next = append(u.next, (*buf)[n:got]...)
		}
	}
	return nil
}

// finish waits for the upload, or ends it by force where the response was over
// first, and returns why the workload or the upstream broke it off.
func (u *upload) finish() *failure {
	x := u.x
	var f *failure
	select {
	case f = <-u.done:
	default:
		u.stop.Store(true)
		_ = x.c.client.SetReadDeadline(longAgo)
		_ = x.up.SetWriteDeadline(longAgo)
		if <-u.done != nil { // the response stands, the connections do not
			x.keepAlive = false
		}
	}
	if f != nil {
		x.keepAlive = false
	}
	x.bytesOut += u.n
	x.in.append(u.next)
	return f
}
