package proxy

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/net/http2/hpack"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/h2"
	"github.com/outwarden/outwarden/pkg/inject"
)

// begin decides, and sends the request on if nothing has to be waited for.
func (s *stream) begin(b *h2.Batch) *failure {
	s.out = s.head
	f := s.judge(streamMessage{s})
	s.out = nil
	switch {
	case f != nil:
		return f
	case s.gathering != inject.GatherNothing && !s.asked:
		return s.gatherBody(b)
	}
	return s.reach(b)
}

// judge looks at the head as it came.
func (s *stream) judge(m message) *failure {
	if f := s.decideOn(m); f != nil {
		return f
	}
	s.setApart()
	if f := s.guardTrailers(); f != nil {
		return f
	}
	return s.gathers(m)
}

// reach sends the request on a pooled connection, or lets a goroutine wait: for
// a new one, or for the disk that the intent must be on.
func (s *stream) reach(b *h2.Batch) *failure {
	if s.c.p.o.Records.Waits() {
		s.await((*request).connect)
		return nil
	}
	s.stay()
	if s.up = s.c.snap.Upstream.Ready(s.target()); s.up.IsZero() {
		s.await((*request).connect)
		return nil
	}
	sealed, f := s.prepare(&s.request)
	if f != nil {
		return f
	}
	return s.launch(b, sealed)
}

// await gets an upstream in a goroutine, which works on a request of its own: the
// workload may leave meanwhile. The goroutine writes the record then, as it may be at
// the intent, and the trail has that before what became of it.
func (s *stream) await(connect func(*request, context.Context) *failure) {
	ctx, cancel := context.WithCancel(s.c.asks())
	s.waiting = cancel
	q := s.request
	s.c.tasks.Go(func() {
		defer cancel()
		var sealed inject.Sealed
		f := connect(&q, ctx)
		if f == nil && ctx.Err() != nil { // for whom would the intent be?
			f = refusal(flow.ReasonWorkloadClosed, "")
		}
		if f == nil {
			sealed, f = s.prepare(&q)
		}
		var b h2.Batch
		s.arrive(&b, &q, sealed, f)
		b.Flush()
	})
}

// arrive goes on where await began.
func (s *stream) arrive(b *h2.Batch, q *request, sealed inject.Sealed, f *failure) {
	s.mu.Lock()
	if s.over {
		s.mu.Unlock() // the record may have to wait
		if !q.up.IsZero() {
			s.c.snap.Upstream.Put(q.up)
		}
		s.leave(s.why)
		return
	}
	defer s.mu.Unlock()
	s.waiting, s.quiet = nil, 0
	s.up, s.applied, s.said = q.up, q.applied, q.said
	s.addr, s.decision = q.addr, q.decision
	if f == nil {
		f = s.launch(b, sealed)
	}
	s.end(b, f)
	if f != nil && f.reason == flow.ReasonUpstreamTLS {
		s.c.http2.Load().Shutdown() // its next connection is offered what the upstream speaks now
	}
}

// prepare makes the fields that are to leave, and authorizes them.
func (s *stream) prepare(q *request) (inject.Sealed, *failure) {
	if !q.up.Multiplexed() {
		return inject.Sealed{}, refusal(flow.ReasonUpstreamTLS, "the upstream no longer speaks HTTP/2; connect again")
	}
	s.out = append(newFields(), s.head...)
	for i := range s.out {
		if s.out[i].Name == ":scheme" {
			s.out[i].Value = schemeOf(q)
		}
	}
	var content inject.Content
	if q.gathering != inject.GatherNothing {
		s.out = slices.DeleteFunc(s.out, expectation) // we have answered it
		content = q.handed(s.ahead)                   // which is all here; else the reader still adds to it
	}
	s.rewrite = nil
	return q.authorize(streamMessage{s}, content)
}

// schemeOf is what the upstream leg makes of the request, whatever the workload
// called it.
func schemeOf(q *request) string {
	if q.up.Facts().TLS == 0 {
		return "http"
	}
	return "https"
}

func expectation(f hpack.HeaderField) bool { return f.Name == "expect" }

// launch sends the fields, and the content that is here.
func (s *stream) launch(b *h2.Batch, sealed inject.Sealed) *failure {
	content, tail := s.leaving()
	headOnly := s.asked && len(content) == 0 && tail == nil && !s.rewrite.passing()
	to, err := s.up.Open(b, (*upStream)(s), sealed, headOnly)
	sent := size(s.out)
	freeFields(s.out)
	s.out = nil
	if err != nil {
		return s.again(err)
	}
	s.to, s.bytesOut = to, sent
	if len(content) > 0 || s.rewrite.passing() {
		s.forward(b, content, s.asked && tail == nil)
	}
	if tail != nil {
		s.bytesOut += size(tail)
		_ = to.WriteTrailers(b, tail)
	}
	return nil
}

// leaving is the content that is here, and the trailers behind it.
func (s *stream) leaving() (content []byte, tail []hpack.HeaderField) {
	switch w := s.rewrite; {
	case w == nil:
		return s.ahead, s.tail
	case w.whole != nil:
		return w.whole, nil
	}
	return s.ahead, nil
}

// again sends the request once more, if all of it is still here and twice does
// no harm: the upstream has not looked at it, or it is idempotent and the
// connection was an old one. The failure is nil then.
func (s *stream) again(err error) *failure {
	f := s.alerted(upstreamLost(err), err)
	leaving := errors.Is(err, h2.ErrLeaving)
	harmless := h2.Unprocessed(err) || s.up.Reused() && idempotent(s.method) && isBroken(err)
	s.tries++
	if s.spilled || !harmless || s.tries > mostTries || s.tries > 1 && !leaving {
		return f
	}
	s.c.snap.Upstream.Put(s.up)
	s.up, s.to, s.behind = inject.Conn{}, nil, 0
	if leaving {
		s.await((*request).connect) // the pool has one in its place, or makes one for all who lost it
		return nil
	}
	s.await((*request).connectAfresh)
	return nil
}

// mostTries bounds how often a request is overtaken by the GOAWAY of one
// connection after the other. Where the upstream counts few requests and many are
// under way, one that the scheduler forgets may be six times in a row.
const mostTries = 10
