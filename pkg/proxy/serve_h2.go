package proxy

import (
	"net/http"
	"strings"
	"time"

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
	t := &c.p.o.Timeouts
	server := h2.NewServer(c.client, h2.Options{
		HeaderBytes: http1.MaxHead, Idle: t.Idle, Stall: t.BodyStall, Patience: min(t.Response, t.BodyStall), Refused: c.refusedStream,
		Beneath: c.wire,
	}, func() h2.Handler { return (*downStream)(c.newStream()) })
	c.http2.Store(server)
	if c.draining() {
		server.Shutdown()
	}
	err := server.Serve()
	c.tasks.Wait()
	c.recordEnd(err)
	return nil
}

// recordEnd writes a record of a connection that carried no request, or that the
// workload broke in a way that is no request's: by a flood, say.
func (c *conn) recordEnd(err error) {
	f := workloadBroke(err)
	if c.requests.Load() == 0 || f.reason == flow.ReasonBadRequest {
		c.recordSilence(f.reason)
	}
}

// newStream counts the stream: the connection is not over before its record is
// written.
func (c *conn) newStream() *stream {
	c.tasks.Add(1)
	return &stream{request: request{c: c, began: time.Now(), decision: c.decision}}
}

// refusedStream records what never becomes a request.
func (c *conn) refusedStream(b *h2.Batch, down *h2.Stream, r *h2.Request, e *h2.RequestError) {
	s := c.newStream()
	s.down = down
	s.take(r)
	switch e.Status {
	case 0: // malformed: the engine resets the stream
		s.finish(refusal(flow.ReasonBadRequest, e.Detail))
	case http.StatusRequestHeaderFieldsTooLarge:
		s.end(b, refusal(flow.ReasonHeaderTooLarge, e.Detail))
	default:
		s.end(b, refusal(flow.ReasonBadRequest, e.Detail))
	}
}

func (s *stream) take(r *h2.Request) {
	s.method, s.authority, s.length = r.Method, r.Authority, r.Length
	s.path, s.query, _ = strings.Cut(r.Path, "?")
}

// Handle takes an event of the workload's side.
func (d *downStream) Handle(down *h2.Stream, e *h2.Event) {
	s := (*stream)(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Kind != h2.Tick {
		s.quiet = 0
	}
	switch {
	case s.over:
		down.Consumed(e.Batch, len(e.Data))
	case e.Kind == h2.Head:
		s.down, s.asked = down, e.End
		s.head = append(s.space[:0], e.Fields...)
		s.take(e.Request)
		s.end(e.Batch, s.begin(e.Batch))
	case e.Kind == h2.Data:
		s.data(e)
	case e.Kind == h2.Trailers:
		s.trailers(e)
	case e.Kind == h2.Room:
		s.room(e.Batch, e.N)
	case e.Kind == h2.Tick:
		s.tick(e)
	case e.Kind == h2.Closed:
		s.left(e)
	}
	s.conclude()
}
