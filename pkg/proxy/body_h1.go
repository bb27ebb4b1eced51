package proxy

import (
	"bytes"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/http1"
	"github.com/outwarden/outwarden/pkg/inject"
)

// guardTrailers keeps the workload from sending in a trailer what the route
// injects in a field.
func (x *exchange) guardTrailers() {
	if x.plan != nil && x.req.Body == http1.BodyChunked {
		x.body.Deny(x.plan.Inject.Owns)
	}
}

// gather takes what of the content came with the head. Who signs or edits the
// content needs all of it before anything is sent, so then it waits.
func (x *exchange) gather() *failure {
	if f := x.gathers(headMessage{x}); f != nil {
		return f
	}
	n, done, err := x.body.Scan(x.in.bytes(), x.unchunk())
	if err != nil {
		return requestFailure(err)
	}
	x.ahead = x.in.bytes()[:n]
	x.in.take(n)
	if x.gathering == inject.GatherNothing {
		return nil
	}
	if x.req.Length > x.mostContent() || int64(n) > x.mostContent() {
		return x.tooLarge()
	}
	if done {
		return nil
	}
	return x.spool()
}

// unchunk is where gathered content goes that does not stand in ahead as it is.
func (x *exchange) unchunk() func([]byte) {
	if x.gathering == inject.GatherNothing || x.req.Body != http1.BodyChunked {
		return nil
	}
	return func(p []byte) { x.plain = append(x.plain, p...) }
}

// gathered is the content without its framing.
func (x *exchange) gathered() []byte {
	if x.req.Body == http1.BodyChunked {
		return x.plain
	}
	return x.ahead
}

// spool reads the rest of the content into memory.
func (x *exchange) spool() *failure {
	if f := x.inviteBody(); f != nil {
		return f
	}
	spool := bytes.NewBuffer(append(make([]byte, 0, len(x.ahead)+bulkSize), x.ahead...))
	buf, data := bulk.get(), x.unchunk()
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
		if int64(spool.Len()) > x.mostContent() {
			return x.tooLarge()
		}
		x.next = append(x.next, (*buf)[n:got]...)
	}
	x.ahead = spool.Bytes()
	return nil
}

// appendContent puts behind the head what of the content is here.
func (x *exchange) appendContent() *failure {
	switch {
	case x.rewrite == nil:
		x.out = append(x.out, x.ahead...)
		return nil
	case x.rewrite.whole != nil:
		x.out = append(x.out, x.rewrite.whole...)
		return nil
	}
	if x.rewrite.chunked && x.req.Minor == 0 {
		return refusal(flow.ReasonBadRequest, "HTTP/1.0 has no chunks, and the content changes its length on its way")
	}
	var f *failure
	var from http1.Body
	from.Reset(x.req.Body, x.req.Length)
	_, done, _ := from.Scan(x.ahead, func(p []byte) { // it was scanned before
		if f == nil {
			f = x.rewrite.take(p, false)
		}
	})
	if f == nil && done {
		f = x.rewrite.take(nil, true)
	}
	x.out = append(x.out, x.rewrite.leaves()...)
	return f
}

// invited reports whether the workload was asked for its content by us.
func (x *exchange) invited() bool { return x.gathering != inject.GatherNothing && x.req.Expect100 }

// inviteBody answers Expect: 100-continue ourselves, as the upstream can't be
// asked before the content is here. The field then has nothing left to say.
func (x *exchange) inviteBody() *failure {
	if !x.req.Expect100 {
		return nil
	}
	return x.say([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
}
