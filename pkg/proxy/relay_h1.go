package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/http1"
	"github.com/outwarden/outwarden/pkg/inject"
)

// relay takes the response, interim ones first, to the workload.
func (x *exchange) relay() *failure {
	var from window
	defer from.release()
	for {
		if f := x.readResponse(&from); f != nil {
			return f
		}
		switch {
		case x.res.Status == http.StatusSwitchingProtocols:
			return x.switchProtocols(&from)
		case x.res.Status >= 200:
			return x.relayFinal(&from)
		}
		if f := x.relayInterim(&from); f != nil {
			return f
		}
	}
}

// response is what the relay reads.
type response struct{ x *exchange }

// Read reads from the upstream. What comes once the upload is broken may be an
// answer to the end of what the upstream has, as if that were all.
func (r response) Read(p []byte) (int, error) {
	n, err := r.x.up.Read(p)
	if r.x.upload != nil && r.x.upload.broken.Load() {
		return 0, net.ErrClosed
	}
	return n, err
}

// readResponse reads until a response head is whole.
func (x *exchange) readResponse(from *window) *failure {
	for seen := 0; ; {
		if b := from.bytes(); http1.Again(b, seen) {
			n, err := x.res.Parse(b, x.req.Method)
			if err != nil {
				return responseFailure(err)
			}
			if n > 0 {
				from.take(n)
				x.bytesIn += int64(n)
				return nil
			}
			seen = len(b)
		}
		if err := from.fill(response{x}); err != nil {
			return x.alerted(upstreamBroke(err), err)
		}
	}
}

// responseFailure says that the upstream answered outside the grammar. Nothing
// of such a response may reach the workload.
func responseFailure(err error) *failure {
	var e *http1.Error
	if errors.As(err, &e) {
		return refusal(flow.ReasonUpstreamResponse, e.Detail)
	}
	return refusal(flow.ReasonInternal, "")
}

// relayInterim passes 100, 103 and their kind on. HTTP/1.0 knows none of them
// (RFC 9110 section 15.2), and our own 100 was enough where we sent one.
func (x *exchange) relayInterim(from *window) *failure {
	if x.req.Minor == 0 || x.gathering != inject.GatherNothing && x.res.Status == http.StatusContinue {
		return nil
	}
	x.edit.Reset()
	x.res.Hop(&x.edit)
	x.out = x.res.Append(x.out[:0], &x.edit)
	if x.scrubs() {
		return x.say(x.cleanHead(x.out))
	}
	return x.say(x.out)
}

// relayFinal writes head and content as the upstream wrote them. What is here
// already leaves with the head in one write; what comes later is passed on as
// it comes, so an event never waits for the next one.
func (x *exchange) relayFinal(from *window) *failure {
	x.upload.begins()
	x.status = x.res.Status
	x.reusable, x.more = x.res.KeepAlive, x.res.Body != http1.BodyUntilClose
	x.content.Reset(x.res.Body, x.res.Length)
	if x.scrubs() {
		return x.relayScrubbed(from)
	}
	n, done, err := x.content.Scan(from.bytes(), nil)
	if err != nil {
		return responseFailure(err)
	}
	x.out = append(x.responseHead(x.out[:0]), from.bytes()[:n]...)
	from.take(n)
	x.bytesIn += int64(n)
	x.answered = true
	if f := x.relayContent(done); f != nil {
		return f
	}
	if len(from.bytes()) > 0 { // an answer nobody asked for must not meet the next request
		x.reusable = false
	}
	return nil
}

// responseHead is the head as the workload gets it.
func (x *exchange) responseHead(dst []byte) []byte {
	x.editResponse()
	return x.res.Append(dst, &x.edit)
}

// editResponse edits the head: what belongs to the upstream's connection goes,
// and with it what would lead the workload around us (RFC 7838). Who has more content than
// the upstream waited for is told that nobody reads it (RFC 9110 section 10.1.1).
func (x *exchange) editResponse() {
	x.edit.Reset()
	x.res.Hop(&x.edit)
	x.edit.DropName(x.res.Fields, "alt-svc")
	x.edit.DropName(x.res.Fields, "alternate-protocol")
	if (!x.req.KeepAlive || x.c.draining() || !x.upload.whole()) && x.res.Body != http1.BodyUntilClose {
		x.more = false
		x.edit.Add = http1.AppendField(x.edit.Add, "Connection", "close")
	}
}

// relayContent writes x.out and what is still to come. Each piece leaves before
// the upstream is waited for.
func (x *exchange) relayContent(done bool) *failure {
	switch {
	case done && x.over():
		return x.sayLast(x.out)
	case done:
		return x.say(x.out)
	}
	from := x.up.Wire()
	from.Feed(x.c.wire)
	f := x.toWorkload(x.out)
	switch {
	case f != nil:
	case x.scrub.scrubber != nil:
		f = x.relayScrubbedBody()
	default:
		f = x.relayBody()
	}
	if err := from.Starve(); err != nil {
		return refusal(flow.ReasonWorkloadClosed, "")
	}
	return f
}

func (x *exchange) relayBody() *failure {
	buf := bulk.get()
	defer bulk.put(buf)
	for done := false; !done; {
		x.up.Wire().ExtendRead(x.c.p.o.Timeouts.BodyStall)
		got, err := response{x}.Read(*buf)
		if got == 0 && err != nil {
			return x.endOfBody(err)
		}
		var n int
		if n, done, err = x.content.Scan((*buf)[:got], nil); err != nil {
			return responseFailure(err)
		}
		x.bytesIn += int64(n)
		if n < got {
			x.reusable = false
		}
		if f := x.toWorkload((*buf)[:n]); f != nil {
			return f
		}
	}
	return nil
}

// endOfBody tells a content that ends with its connection from one cut short.
// Under TLS only close_notify is an end; an attacker can make the rest.
func (x *exchange) endOfBody(err error) *failure {
	if errors.Is(err, io.EOF) && x.content.EOF() == nil {
		return nil
	}
	return upstreamBroke(err)
}

// say is toWorkload for what stands alone: it leaves at once, and with it what the
// handshake has left.
func (x *exchange) say(p []byte) *failure {
	if f := x.toWorkload(p); f != nil {
		return f
	}
	if x.c.wire.Release() != nil {
		return refusal(flow.ReasonWorkloadClosed, "")
	}
	return nil
}

// sayLast is say with the end of our side behind it, in one packet.
func (x *exchange) sayLast(p []byte) *failure {
	x.c.wire.Gather()
	if f := x.toWorkload(p); f != nil {
		return f
	}
	x.c.closeNotify()
	if x.c.wire.End() != nil {
		return refusal(flow.ReasonWorkloadClosed, "")
	}
	return nil
}

// over reports whether the workload said that it asks for nothing more, and all of
// what it asked is here.
func (x *exchange) over() bool {
	return x.c.proto == protoTLS && !x.req.KeepAlive && x.upload == nil && x.body.Done() && len(x.in.bytes()) == 0
}

func (x *exchange) toWorkload(p []byte) *failure {
	x.c.wire.ExtendWrite(x.c.p.o.Timeouts.BodyStall)
	if _, err := x.c.client.Write(p); err != nil {
		return refusal(flow.ReasonWorkloadClosed, "")
	}
	return nil
}
