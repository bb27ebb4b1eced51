package proxy

import (
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/outwarden/outwarden/pkg/http1"
	"github.com/outwarden/outwarden/pkg/scrub"
)

// scrubbing is a content on its way through a scrubber.
type scrubbing struct {
	scrubber        // nil: it is passed on as it is
	chunked  bool   // it leaves in chunks
	tail     []byte // the trailer section as it came, with the empty line
	err      error  // why it can't go on
}

// relayScrubbed is relayFinal for a response that is looked into.
func (x *exchange) relayScrubbed(from *window) *failure {
	d := x.describe()
	if f := x.beginScrub(&d, from); f != nil {
		return f
	}
	x.editResponse()
	if x.recodes(&d) && x.scrub.scrubber != nil {
		x.editRecoded()
	}
	x.out = x.cleanHead(x.res.Append(x.out[:0], &x.edit))
	n, done, f := x.scrubPiece(from.bytes())
	if f != nil {
		return f
	}
	from.take(n)
	x.bytesIn += int64(n)
	x.answered = true
	if f := x.relayContent(done); f != nil {
		return f
	}
	if len(from.bytes()) > 0 {
		x.reusable = false
	}
	return nil
}

func (x *exchange) describe() described {
	d := described{status: x.res.Status, sized: x.res.Body == http1.BodyLength}
	d.called = x.method == http.MethodPost && isGRPC(string(x.req.Value("content-type")))
	for i := range x.res.Fields {
		switch f := &x.res.Fields[i]; {
		case http1.NameIs(f.Name, "content-encoding"):
			d.note("content-encoding", string(f.Value))
		case !d.called: // it has no messages
		case http1.NameIs(f.Name, "content-type"):
			d.note("content-type", string(f.Value))
		case http1.NameIs(f.Name, "grpc-encoding"):
			d.note("grpc-encoding", string(f.Value))
		}
	}
	return d
}

// beginScrub makes the scrubber, where there is a content to look into. An encoded
// one that is here already, and clean with all behind it, stays as it is.
func (x *exchange) beginScrub(d *described, from *window) (f *failure) {
	x.scrub.chunked = x.res.Body == http1.BodyChunked
	if x.content.Done() {
		return nil
	}
	if x.scrub.scrubber, f = x.scrubber(d); f != nil || x.scrub.scrubber == nil {
		return f
	}
	if x.recodes(d) && x.cleanAlready(d, from) {
		x.scrub.scrubber = nil
	}
	x.content.Tail(&x.scrub.tail)
	return nil
}

func (x *exchange) cleanAlready(d *described, from *window) bool {
	var whole []byte
	probe := x.content
	n, done, err := probe.Scan(from.bytes(), func(p []byte) { whole = append(whole, p...) })
	if err != nil || !done || len(whole) == 0 || x.plan.Scrub.Filter.Has(from.bytes()[:n]) { // with chunk extensions and trailers
		return false
	}
	clean, err := x.plan.Scrub.Filter.CleanBody(d.encoding, whole)
	return clean && err == nil
}

// editRecoded edits the head of a content that will be of another length. A client
// of HTTP/1.0 knows no chunks, and reads it until the connection ends.
func (x *exchange) editRecoded() {
	for _, name := range changes {
		x.edit.DropName(x.res.Fields, name)
	}
	if tag := x.res.Value("etag"); tag != nil {
		x.edit.DropName(x.res.Fields, "etag")
		x.edit.Add = http1.AppendField(x.edit.Add, "ETag", weak(string(tag)))
	}
	switch {
	case x.res.Body != http1.BodyLength:
	case x.req.Minor > 0:
		x.scrub.chunked = true
		x.edit.Add = http1.AppendField(x.edit.Add, "Transfer-Encoding", "chunked")
	case x.more:
		x.more = false
		x.edit.Add = http1.AppendField(x.edit.Add, "Connection", "close")
	}
}

// scrubPiece takes what came of the content, n bytes of p, and appends to x.out what
// can go on.
func (x *exchange) scrubPiece(p []byte) (n int, done bool, f *failure) {
	if x.scrub.scrubber == nil {
		n, done, err := x.content.Scan(p, nil)
		if err != nil {
			return n, false, responseFailure(err)
		}
		x.out = append(x.out, p[:n]...)
		return n, done, nil
	}
	n, done, err := x.content.Scan(p, x.take)
	switch {
	case x.scrub.err != nil:
		return n, false, scrubFailure(x.scrub.err)
	case err != nil:
		return n, false, responseFailure(err)
	case done:
		return n, true, x.endScrub()
	}
	return n, false, nil
}

// take scrubs a part of the content.
func (x *exchange) take(p []byte) {
	if x.scrub.err == nil {
		var out []byte
		out, x.scrub.err = x.scrub.Next(p)
		x.emit(out)
	}
}

// emit appends content to x.out, as the message is framed.
func (x *exchange) emit(p []byte) {
	if len(p) == 0 {
		return
	}
	if !x.scrub.chunked {
		x.out = append(x.out, p...)
		return
	}
	x.out = append(strconv.AppendInt(x.out, int64(len(p)), 16), "\r\n"...)
	x.out = append(append(x.out, p...), "\r\n"...)
}

// endScrub appends what is left when the content has ended.
func (x *exchange) endScrub() *failure {
	rest, err := x.scrub.Close(nil)
	if err != nil {
		return scrubFailure(err)
	}
	x.emit(rest)
	switch {
	case !x.scrub.chunked:
	case len(x.scrub.tail) > 0:
		x.out = append(append(x.out, "0\r\n"...), x.cleanHead(x.scrub.tail)...)
	default:
		x.out = append(x.out, "0\r\n\r\n"...)
	}
	return nil
}

// relayScrubbedBody is relayBody through the scrubber.
func (x *exchange) relayScrubbedBody() *failure {
	buf := bulk.get()
	defer bulk.put(buf)
	for done := false; !done; {
		x.awaitPiece()
		got, err := response{x}.Read(*buf)
		x.out = x.out[:0]
		if got == 0 && x.rests(err) {
			if f := x.letGo(); f != nil {
				return f
			}
			continue
		}
		if got == 0 && err != nil {
			return x.endOfScrubbed(err)
		}
		var n int
		var f *failure
		if n, done, f = x.scrubPiece((*buf)[:got]); f != nil {
			return f
		}
		x.bytesIn += int64(n)
		if n < got {
			x.reusable = false
		}
		if len(x.out) == 0 {
			continue
		}
		if f := x.toWorkload(x.out); f != nil {
			return f
		}
	}
	return nil
}

// awaitPiece gives the upstream time: little of it while something is held.
func (x *exchange) awaitPiece() {
	if x.scrub.Held() {
		_ = x.up.Wire().SetReadDeadline(time.Now().Add(scrubPatience))
		return
	}
	x.up.Wire().ExtendRead(x.c.p.o.Timeouts.BodyStall)
}

// rests reports whether the content does not go on while something is held.
func (x *exchange) rests(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && x.scrub.Held()
}

func (x *exchange) letGo() *failure {
	out, err := x.scrub.Pause()
	if err != nil {
		return scrubFailure(err)
	}
	x.emit(out)
	return x.toWorkload(x.out)
}

// endOfScrubbed is endOfBody: a content that ends with its connection has a rest.
func (x *exchange) endOfScrubbed(err error) *failure {
	if f := x.endOfBody(err); f != nil {
		return f
	}
	if f := x.endScrub(); f != nil || len(x.out) == 0 {
		return f
	}
	return x.toWorkload(x.out)
}

// scrubbedConn is the workload's side of a WebSocket.
type scrubbedConn struct {
	net.Conn
	frames *scrub.Frames
}

// Write scrubs p. It returns len(p) unless it fails.
func (c scrubbedConn) Write(p []byte) (int, error) {
	out, err := c.frames.Next(p)
	if err != nil {
		return 0, err
	}
	if _, err := c.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// CloseWrite ends our side.
func (c scrubbedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// scrubTunnel makes what looks into the frames of a WebSocket, and cleans what came
// of it already.
func (x *exchange) scrubTunnel(early []byte) (*scrub.Frames, *failure) {
	frames := x.plan.Scrub.Filter.Frames(scrub.WebSocket, x.scrubOptions(), &x.scrubbed)
	x.out = x.cleanHead(x.out)
	out, err := frames.Next(early)
	if err != nil {
		return nil, scrubFailure(err)
	}
	x.out = append(x.out, out...)
	return frames, nil
}
