package proxy

import (
	"bytes"
	"crypto/sha256"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/http1"
)

// guardTrailers keeps the workload from sending in a trailer what the route
// injects in a field.
func (x *exchange) guardTrailers() {
	if x.plan != nil && x.req.Body == http1.BodyChunked {
		x.body.Deny(x.plan.Inject.Owns)
	}
}

// gather takes what of the content came with the head. A signer that covers
// the content needs all of it before anything is sent, so then it waits.
func (x *exchange) gather() *failure {
	var data func([]byte)
	if x.needsBody() {
		x.digest = sha256.New()
		data = func(p []byte) { x.digest.Write(p) }
	}
	n, done, err := x.body.Scan(x.in.bytes(), data)
	if err != nil {
		return requestFailure(err)
	}
	x.ahead = x.in.bytes()[:n]
	x.in.take(n)
	if done || data == nil {
		return nil
	}
	return x.spool(data)
}

// spool reads the rest of the content into memory.
func (x *exchange) spool(data func([]byte)) *failure {
	limit := x.plan.SignedBody
	if x.req.Length > limit {
		return refusal(flow.ReasonBodyTooLarge, "the route's signature covers the body; see limits.signed_body")
	}
	if f := x.inviteBody(); f != nil {
		return f
	}
	spool := bytes.NewBuffer(append(make([]byte, 0, len(x.ahead)+bulkSize), x.ahead...))
	buf := bulk.get()
	defer bulk.put(buf)
	for done := false; !done; {
		x.awaitContent(int64(spool.Len()))
		got, err := x.c.client.Read(*buf)
		if got == 0 && err != nil {
			return readFailure(err)
		}
		var n int
		if n, done, err = x.body.Scan((*buf)[:got], data); err != nil {
			return requestFailure(err)
		}
		spool.Write((*buf)[:n])
		if int64(spool.Len()) > limit {
			return refusal(flow.ReasonBodyTooLarge, "the route's signature covers the body; see limits.signed_body")
		}
		x.next = append(x.next, (*buf)[n:got]...)
	}
	x.ahead = spool.Bytes()
	return nil
}

// inviteBody answers Expect: 100-continue ourselves, as the upstream can't be
// asked before the content is here. The field then has nothing left to say.
func (x *exchange) inviteBody() *failure {
	if !x.req.Expect100 {
		return nil
	}
	return x.say([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
}
