package proxy

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/http1"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// exchange is one HTTP/1 request and its response. One goroutine drives both
// sides; only a body that did not come with its head gets a second one.
// The slices of req alias in, which stays as it is until the exchange is over.
type exchange struct {
	// Their memory serves the next exchange.
	req  http1.Request  // the head of the request
	res  http1.Response // and of the response
	edit http1.Edit     // what changes on the way
	out  []byte         // the edited head, and what is sent with it

	turn
}

// turn is what an exchange forgets.
type turn struct {
	request
	in   *window    // what the workload sent
	body http1.Body // its content

	ahead   []byte   // raw content that is known before anything is sent
	plain   []byte   // gathered content out of its chunks
	rewrite *rewrite // what leaves in its place; nil: it leaves as it came
	to      net.Conn // where what comes behind the head is written to
	next    []byte   // what came behind the content, and was read with it
	owed    int64    // how much of the content has to come before there is more time for it

	upload *upload // not nil: body, in and next are its

	content  http1.Body // of the response
	scrub    scrubbing  // and what looks into it
	answered bool       // the workload has seen a part of the final response
	more     bool       // the workload's connection is fit for another exchange
	reusable bool       // the upstream's is
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// beginHTTP1 says what is asked of upstreams, and serves the first request. That is
// done where the handshake was, as many connections are for one request alone.
func (c *conn) beginHTTP1() stage {
	if c.proto == protoHTTP1 || len(offeredHTTP(c.hello.ALPN)) > 0 {
		c.offer = onlyHTTP1
	}
	return c.serve(true)
}

// serveHTTP1 serves those that follow.
func (c *conn) serveHTTP1() stage { return c.serve(false) }

// serve serves requests one after the other until either side has enough, or the
// workload rests; brief: or no other one is here yet.
func (c *conn) serve(brief bool) stage {
	var in window
	defer in.release()
	for {
		switch c.awaitRequest(&in) {
		case nobody:
			return c.endHTTP1()
		case resting:
			return (*conn).sleep
		}
		if !c.exchange(&in) {
			return c.endHTTP1()
		}
		in.rest()
		if brief && len(in.bytes()) == 0 {
			return (*conn).serveHTTP1
		}
	}
}

// endHTTP1 leaves in good order.
func (c *conn) endHTTP1() stage {
	if c.requests.Load() == 0 {
		c.recordSilence(flow.ReasonWorkloadClosed)
	}
	c.goodbye()
	return nil
}

// exchange serves one request and reports whether another may follow.
func (c *conn) exchange(in *window) bool {
	x := exchanges.Get().(*exchange) // with a turn that is forgotten
	x.c, x.began, x.decision, x.in = c, time.Now(), c.decision, in
	f := x.readHead()
	if f == nil {
		f = x.forward()
	}
	again := x.conclude(f)
	in.append(x.next)
	x.edit.Reset()
	x.endTurn()
	exchanges.Put(x)
	return again
}

// endTurn forgets.
func (x *exchange) endTurn() {
	if s := x.scrub.scrubber; s != nil {
		s.Stop()
	}
	x.turn = turn{}
}

// forward takes the request to the upstream and the response back.
func (x *exchange) forward() *failure {
	if f := x.decideOn(headMessage{x}); f != nil {
		return f
	}
	x.setApart()
	x.guardTrailers()
	if f := x.gather(); f != nil {
		return f
	}
	f, retry := x.attempt((*request).connect)
	if retry {
		f, _ = x.attempt((*request).connectAfresh)
	}
	return f
}

// attempt sends the request over one upstream connection and takes the
// response back. retry says that a connection that had served before broke
// without a byte of a response, and that the request may be sent again: it is
// idempotent (RFC 9110 section 9.2.2) and all of it was here from the start.
func (x *exchange) attempt(connect func(*request, context.Context) *failure) (f *failure, retry bool) {
	if f := connect(&x.request, x.c.asks()); f != nil {
		return f, false
	}
	x.c.up.Store(x.up)
	defer x.c.up.Store(inject.Conn{})
	if x.c.p.ctx.Err() != nil { // Close may have looked before
		_ = x.up.Close()
		return refusal(flow.ReasonWorkloadClosed, ""), false
	}
	x.bytesOut = 0
	reused, whole := x.up.Reused(), x.body.Done()
	sealed, f := x.prepare()
	if f != nil {
		x.c.snap.Upstream.Put(x.up) // nothing was sent on it
		return f, false
	}
	f = x.sendAndRelay(sealed)
	if !x.c.vigil.end() {
		f = refusal(flow.ReasonWorkloadClosed, "")
	}
	x.release(f)
	retry = f != nil && f.reason == flow.ReasonUpstreamClosed && reused && x.bytesIn == 0 && whole && idempotent(x.method)
	return f, retry
}

// release gives the upstream connection back, or ends it where anything of
// this exchange may still be in it.
func (x *exchange) release(f *failure) {
	if f == nil && x.reusable && x.c.p.ctx.Err() == nil {
		x.c.up.Store(inject.Conn{})
		x.up.KeptFor(time.Duration(x.res.Rest) * time.Second)
		x.c.snap.Upstream.Put(x.up)
		return
	}
	_ = x.up.Close()
}

func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE":
		return true
	}
	return false
}

// prepare edits the head: what belongs to the workload's connection goes, and
// what the plan injects comes. A retry begins from the head as received.
func (x *exchange) prepare() (inject.Sealed, *failure) {
	x.edit.Reset()
	x.rewrite = nil
	if !x.mayUpgrade() {
		x.req.Upgrade = nil // a server may ignore an Upgrade; a tunnel nobody reads may not be had
	}
	x.req.Hop(&x.edit)
	if x.invited() {
		x.edit.DropName(x.req.Fields, "expect")
	}
	if x.req.Upgrade != nil && x.scrubs() {
		x.edit.DropName(x.req.Fields, "sec-websocket-extensions") // they compress
	}
	return x.authorize(headMessage{x}, x.handed(x.gathered()))
}

// mayUpgrade allows WebSocket (RFC 6455) and no other protocol, and no content
// with the request: it would be read by the upload and by the tunnel at once.
func (x *exchange) mayUpgrade() bool {
	return x.req.Upgrade != nil && http1.NameIs(x.req.Upgrade, "websocket") && x.req.Body != http1.BodyChunked && x.req.Length == 0
}

// sendAndRelay writes the request and relays the response. Content that is
// still to come is sent by a goroutine, because the upstream may answer before
// it has all of it.
func (x *exchange) sendAndRelay(sealed inject.Sealed) *failure {
	x.up.Wire().ExtendWrite(x.c.p.o.Timeouts.BodyStall)
	rest, n, err := x.up.Send(sealed)
	x.to, x.bytesOut = rest, x.bytesOut+int64(n)
	if err != nil {
		return upstreamBroke(err)
	}
	if x.body.Done() {
		x.up.Wire().ExtendRead(x.c.p.o.Timeouts.Response)
		x.c.vigil.begin()
		return x.relay()
	}
	_ = x.up.Wire().SetReadDeadline(time.Time{}) // of the exchange before; the end of the content sets one
	x.upload = x.startUpload()
	f := x.upload.finish(x.relay())
	x.upload = nil
	return f
}

// upstreamBroke classifies an error on an upstream connection that was made.
func upstreamBroke(err error) *failure {
	reason := upstream.ReasonOf(err)
	if reason == flow.ReasonUpstreamUnreachable {
		reason = flow.ReasonUpstreamClosed
	}
	return refusal(reason, "")
}

// conclude answers a refusal, writes the record, and says whether the
// connection may carry another request. One that is to end may where the answer
// has not said so: the request may be on its way.
func (x *exchange) conclude(f *failure) bool {
	if f == errNoRequest {
		return false
	}
	if f != nil {
		x.refuse(f)
	}
	x.record(f)
	x.c.left = f == nil && x.over()
	return f == nil && x.more && x.req.KeepAlive
}

// refuse tells the workload why, if it has not seen a part of a response yet;
// otherwise only a broken connection says that the response is not whole.
func (x *exchange) refuse(f *failure) {
	if x.answered || f.status == 0 {
		x.c.reset()
		return
	}
	x.status = f.status
	x.out = f.appendTo(x.out[:0], x.method == "HEAD")
	_ = x.c.client.SetWriteDeadline(time.Now().Add(x.c.p.o.Timeouts.Hello))
	_, _ = x.c.client.Write(x.out)
}

// closeNotify ends our side: under TLS by its alert (RFC 8446 section 6.1), once.
func (c *conn) closeNotify() {
	if half, ok := c.client.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	c.wire.ExtendWrite(c.p.o.Timeouts.Hello) // crypto/tls leaves a deadline that is over
}

// goodbye ends the connection so that the workload gets to read what was
// written last: closing a socket with unread input would reset it.
func (c *conn) goodbye() {
	const patience, leftovers = time.Second, 16 << 20
	if c.gone {
		return
	}
	c.closeNotify()
	if c.wire.Release() != nil || c.left { // and nothing of it is unread
		return
	}
	_ = c.raw.CloseWrite()
	_ = c.raw.SetReadDeadline(time.Now().Add(patience))
	_, _ = io.CopyN(io.Discard, c.raw, leftovers)
}
