package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/h2"
	"github.com/outwarden/outwarden/pkg/http1"
)

var (
	onlyHTTP1 = []string{alpnHTTP1}
	onlyHTTP2 = []string{alpnHTTP2}
)

// serveHTTP2 serves every stream of the connection. Both sides speak HTTP/2,
// as the workload was offered what the upstream chose.
func (c *conn) serveHTTP2() stage {
	c.offer = onlyHTTP2
	server := h2.NewServer(c.client, h2.Options{
		HeaderBytes: http1.MaxHead, Idle: c.p.o.Timeouts.Idle, Stall: c.p.o.Timeouts.BodyStall, Refused: c.refusedStream,
	}, func() h2.Handler { return (*downStream)(c.newStream()) })
	c.http2.Store(server)
	if c.p.closing.Load() {
		server.Shutdown()
	}
	_ = server.Serve()
	c.tasks.Wait()
	if c.requests.Load() == 0 {
		c.recordSilence()
	}
	return nil
}

func (c *conn) newStream() *stream {
	return &stream{request: request{c: c, began: time.Now(), decision: c.decision}}
}

// refusedStream records what never becomes a request.
func (c *conn) refusedStream(b *h2.Batch, down *h2.Stream, r *h2.Request, e *h2.RequestError) {
	s := c.newStream()
	s.down = down
	s.take(r)
	f := refusal(flow.ReasonBadRequest, e.Detail)
	if e.Status == 0 {
		s.record(f)
		return
	}
	f.status = e.Status
	s.end(b, f)
}

// stream is one HTTP/2 request and its response. The readers of two connections
// work on it, and who waits for it: mu is held for each event, and never while
// somebody waits.
type stream struct {
	request
	mu       sync.Mutex
	down, to *h2.Stream
	head     []hpack.HeaderField // as received
	out      []hpack.HeaderField // on its way out
	length   int64
	whole    bool // head is all of the request
	gather   bool // body is gathered for a digest
	body     []byte
	begun    bool // the upstream may have got some of the body
	retried  bool
	sent     bool // the response head has left: a refusal is too late
	over     bool // the record is written
	cancel   context.CancelFunc
}

type (
	downStream stream // what comes from the workload
	upStream   stream // what comes from the upstream
)

func (s *stream) take(r *h2.Request) {
	s.method, s.authority, s.length = r.Method, r.Authority, r.Length
	s.path, s.query, _ = strings.Cut(r.Path, "?")
}

// Handle takes an event of the workload's side.
func (d *downStream) Handle(down *h2.Stream, e *h2.Event) {
	s := (*stream)(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Kind {
	case h2.Head:
		s.down, s.whole = down, e.End
		s.head = slices.Clone(e.Fields)
		s.take(e.Request)
		s.end(e.Batch, s.begin(e.Batch))
	case h2.Data:
		s.data(e)
	case h2.Trailers:
		s.trailers(e)
	case h2.Room:
		if s.to != nil {
			s.to.Consumed(e.Batch, e.N)
		}
	case h2.Closed:
		s.end(e.Batch, refusal(flow.ReasonWorkloadClosed, ""))
	}
}

// begin decides, and sends the request on if nothing has to be waited for.
func (s *stream) begin(b *h2.Batch) *failure {
	if f := s.decide(); f != nil {
		return f
	}
	if f := s.guardTrailers(); f != nil {
		return f
	}
	if s.needsBody() && !s.whole {
		s.gather = true
		if s.length > s.plan.SignedBody {
			return s.tooLarge()
		}
		return nil
	}
	return s.connectNow(b)
}

// guardTrailers refuses what announces that a trailer will name a field that the
// route injects (RFC 9110 section 6.6.2).
func (s *stream) guardTrailers() *failure {
	for i := range s.head {
		if s.plan == nil || s.head[i].Name != "trailer" {
			continue
		}
		for name := range strings.SplitSeq(s.head[i].Value, ",") {
			if s.plan.Inject.OwnsString(strings.TrimSpace(name)) {
				return refusal(flow.ReasonBadRequest, "a trailer names a field that the route injects")
			}
		}
	}
	return nil
}

// connectNow sends the request on a pooled connection, or lets a goroutine wait
// for a new one.
func (s *stream) connectNow(b *h2.Batch) *failure {
	if up := s.c.snap.Upstream.Ready(s.target(s.c.offer)); up != nil {
		s.up = up
		return s.send(b)
	}
	s.await((*request).connect)
	return nil
}

// await connects in a goroutine. What the workload sends meanwhile is kept, one
// window of it at most.
func (s *stream) await(connect func(*request, context.Context) *failure) {
	ctx, cancel := context.WithCancel(s.c.p.ctx)
	s.cancel = cancel
	s.down.Pause()
	waiter := s.request // connect only sets up, and nobody else reads it meanwhile
	s.c.tasks.Go(func() {
		defer cancel()
		f := connect(&waiter, ctx)
		var b h2.Batch
		s.mu.Lock()
		switch {
		case s.over:
			if f == nil {
				s.c.snap.Upstream.Put(waiter.up)
			}
		case f != nil:
			s.end(&b, f)
		default:
			s.up = waiter.up
			s.end(&b, s.send(&b))
		}
		s.mu.Unlock()
		s.down.Resume(&b)
		b.Flush()
	})
}

// send authorizes the request and lets it leave.
func (s *stream) send(b *h2.Batch) *failure {
	if s.up.H2() == nil {
		return refusal(flow.ReasonUpstreamTLS, "the upstream no longer speaks HTTP/2; connect again")
	}
	var sum [32]byte
	if s.needsBody() {
		sum = sha256.Sum256(s.body)
	}
	s.out = slices.Clone(s.head)
	if f := s.authorize(streamMessage{s}, sum); f != nil {
		return f
	}
	to, err := s.up.H2().Open(b, (*upStream)(s), s.out, s.whole)
	s.out = nil
	if err != nil {
		return s.again(b, err)
	}
	s.to = to
	if s.gather {
		s.gather, s.begun = false, true
		s.bytesOut += int64(len(s.body))
		_, _ = to.Write(b, s.body, true)
	}
	return nil
}

// again sends the request once more on a new connection, if the upstream cannot
// have acted on it, or it may be repeated and the connection was an old one.
func (s *stream) again(b *h2.Batch, err error) *failure {
	f := broken(err)
	may := h2.Unprocessed(err) || s.up.Reused() && idempotent(s.method)
	var ours *h2.StreamError
	if errors.As(err, &ours) && !h2.Unprocessed(err) {
		may = false // it has answered, though badly
	}
	if s.retried || s.begun || !s.whole || !may { // what has come of a body is gone
		return f
	}
	s.retried = true
	s.c.snap.Upstream.Put(s.up)
	s.up, s.to = nil, nil
	s.await((*request).connectAfresh)
	return nil
}

func (s *stream) tooLarge() *failure {
	return refusal(flow.ReasonBodyTooLarge, "the route's signature covers the body; see limits.signed_body")
}

// data forwards a piece of the request, or gathers it.
func (s *stream) data(e *h2.Event) {
	switch {
	case s.gather:
		s.body = append(s.body, e.Data...)
		s.down.Consumed(e.Batch, len(e.Data))
		if int64(len(s.body)) > s.plan.SignedBody {
			s.end(e.Batch, s.tooLarge())
		} else if e.End {
			s.end(e.Batch, s.connectNow(e.Batch))
		}
	case s.to == nil:
		s.down.Consumed(e.Batch, len(e.Data))
	default:
		s.begun = true
		s.bytesOut += int64(len(e.Data))
		n, _ := s.to.Write(e.Batch, e.Data, e.End)
		s.down.Consumed(e.Batch, n)
	}
}

// trailers forwards the fields behind the body. What the route injects in a
// field must not come in a trailer.
func (s *stream) trailers(e *h2.Event) {
	for i := range e.Fields {
		if s.plan != nil && s.plan.Inject.OwnsString(e.Fields[i].Name) {
			s.end(e.Batch, refusal(flow.ReasonBadRequest, "a trailer names a field that the route injects"))
			return
		}
	}
	switch {
	case s.gather: // a signature covers no trailers; they are dropped
		s.end(e.Batch, s.connectNow(e.Batch))
	case s.to != nil:
		_ = s.to.WriteTrailers(e.Batch, e.Fields)
	}
}

// Handle takes an event of the upstream's side.
func (u *upStream) Handle(to *h2.Stream, e *h2.Event) {
	s := (*stream)(u)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.to != to {
		return
	}
	switch e.Kind {
	case h2.Head:
		s.response(e)
	case h2.Data:
		s.bytesIn += int64(len(e.Data))
		n, _ := s.down.Write(e.Batch, e.Data, e.End)
		to.Consumed(e.Batch, n)
	case h2.Trailers:
		_ = s.down.WriteTrailers(e.Batch, e.Fields)
	case h2.Room:
		s.down.Consumed(e.Batch, e.N)
	case h2.Closed:
		s.lost(e)
	}
	if e.End {
		s.finish(nil)
	}
}

func (s *stream) response(e *h2.Event) {
	fields := e.Fields
	if slices.ContainsFunc(fields, alternative) {
		fields = slices.DeleteFunc(slices.Clone(fields), alternative)
	}
	if e.Status >= 200 {
		s.sent, s.status = true, e.Status
	}
	_ = s.down.WriteHead(e.Batch, fields, e.End)
}

// alternative is what would lead the workload around us: another protocol or
// port for the same origin (RFC 7838).
func alternative(f hpack.HeaderField) bool {
	return f.Name == "alt-svc" || f.Name == "alternate-protocol"
}

// lost takes the end of the upstream's stream before both sides were done.
func (s *stream) lost(e *h2.Event) {
	var reset *h2.StreamError
	switch {
	case s.over && errors.As(e.Err, &reset) && reset.Code == http2.ErrCodeNo:
		s.down.Reset(e.Batch, http2.ErrCodeNo) // it has answered and wants no more of the request
	case s.over:
		s.down.Reset(e.Batch, http2.ErrCodeInternal)
	case s.sent:
		s.end(e.Batch, broken(e.Err))
	default:
		s.end(e.Batch, s.again(e.Batch, e.Err))
	}
}

func broken(err error) *failure {
	var reset *h2.StreamError
	if errors.As(err, &reset) && reset.Remote {
		return refusal(flow.ReasonUpstreamClosed, "the upstream reset the stream: "+reset.Code.String())
	}
	return refusal(flow.ReasonUpstreamClosed, "")
}

// end ends the request with a failure, if there is one: the workload gets it as
// an answer, or RST_STREAM where half a response must not look whole.
func (s *stream) end(b *h2.Batch, f *failure) {
	if f == nil || s.over {
		return
	}
	if s.cancel != nil {
		s.cancel()
	}
	if s.to != nil {
		s.to.Reset(b, http2.ErrCodeCancel)
	}
	if s.sent || f.status == 0 {
		s.down.Reset(b, http2.ErrCodeInternal)
	} else {
		s.refuse(b, f)
	}
	s.finish(f)
}

// finish writes the record and gives the upstream's stream back.
func (s *stream) finish(f *failure) {
	if s.over {
		return
	}
	s.over = true
	if s.up != nil {
		s.c.snap.Upstream.Put(s.up)
	}
	s.record(f)
	s.body = nil
}

func (s *stream) refuse(b *h2.Batch, f *failure) {
	body := f.answer()
	if f.reason != flow.ReasonWorkloadClosed {
		s.status = f.status
	}
	_ = s.down.WriteHead(b, []hpack.HeaderField{
		{Name: ":status", Value: strconv.Itoa(f.status)},
		{Name: "content-type", Value: "text/plain; charset=utf-8"},
		{Name: "outwarden-reason", Value: f.reason.String()},
		{Name: "content-length", Value: strconv.Itoa(len(body))},
	}, s.method == "HEAD")
	if s.method != "HEAD" {
		_, _ = s.down.Write(b, []byte(body), true)
	}
	s.down.Reset(b, http2.ErrCodeNo)
}
