package proxy

import (
	"slices"
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/h2"
	"github.com/outwarden/outwarden/pkg/http1"
)

// replayMost bounds the content that is kept until the upstream answers, so that
// a request it did not look at can be sent again (RFC 9113 section 8.7).
const replayMost = 16 << 10

// gatherBody waits for all of the content, which is signed or edited. Who waits to
// be invited to send it is invited by us, as the upstream can't be asked yet.
func (s *stream) gatherBody(b *h2.Batch) *failure {
	s.gather = true
	if s.length > s.mostContent() {
		return s.tooLarge()
	}
	if slices.ContainsFunc(s.head, expectation) {
		_ = s.down.WriteHead(b, []hpack.HeaderField{{Name: ":status", Value: "100"}}, false)
	}
	return nil
}

// data takes a piece of the content.
func (s *stream) data(e *h2.Event) {
	s.asked = e.End
	switch {
	case s.gather:
		s.gathered(e)
	case s.to == nil: // it is not consumed, so one window of it comes at most
		s.ahead = append(s.ahead, e.Data...)
	default:
		s.keep(e.Data)
		s.forward(e.Batch, e.Data, e.End)
	}
}

// gathered adds to the content of a request that is not sent yet.
func (s *stream) gathered(e *h2.Event) {
	s.ahead = append(s.ahead, e.Data...)
	s.down.Consumed(e.Batch, len(e.Data))
	if int64(len(s.ahead)) > s.mostContent() {
		s.end(e.Batch, s.tooLarge())
		return
	}
	if e.End {
		s.gather = false
		s.end(e.Batch, s.reach(e.Batch))
	}
}

// keep remembers what is sent while it may have to be sent again.
func (s *stream) keep(p []byte) {
	switch {
	case s.spilled || s.sent:
	case len(s.ahead)+len(p) > replayMost:
		s.ahead, s.spilled = nil, true
	default:
		s.ahead = append(s.ahead, p...)
	}
}

// forward sends content on, as it came or as the route changes it.
func (s *stream) forward(b *h2.Batch, p []byte, end bool) {
	w := s.rewrite
	if !w.passing() {
		s.pass(b, p, end)
		return
	}
	w.owed += len(p)
	if f := w.take(p, end); f != nil {
		s.end(b, f)
		return
	}
	if p = w.leaves(); len(p) > 0 || end {
		s.pass(b, p, end)
		return
	}
	s.freed(b, 0)
}

// pass hands content to the upstream's stream. What its windows have no room for
// stays there, and the workload may send more as that leaves.
func (s *stream) pass(b *h2.Batch, p []byte, end bool) {
	s.bytesOut += int64(len(p))
	n, err := s.to.Write(b, p, end)
	if err == nil {
		s.behind += len(p) - n
	}
	s.freed(b, n)
}

// freed lets the workload send more, as n bytes have left. Where content is
// changed, what leaves has not the length of what came: all of that is paid back
// when nothing is left behind.
func (s *stream) freed(b *h2.Batch, n int) {
	if w := s.rewrite; w != nil {
		if s.behind > 0 {
			return
		}
		n, w.owed = w.owed, 0
	}
	s.down.Consumed(b, n)
}

// trailers takes the fields behind the content. A signature covers none, so behind
// one they are dropped.
func (s *stream) trailers(e *h2.Event) {
	s.asked = true
	if f := s.checkTrailers(e.Fields); f != nil {
		s.end(e.Batch, f)
		return
	}
	if s.gather {
		s.gathered(e)
		return
	}
	if s.to != nil && s.rewrite != nil {
		s.forward(e.Batch, nil, true)
		return
	}
	s.tail = slices.Clone(e.Fields)
	if s.to != nil {
		s.bytesOut += size(s.tail)
		_ = s.to.WriteTrailers(e.Batch, s.tail)
	}
}

// guardTrailers refuses what announces that a trailer will name a field that the
// route injects (RFC 9110 section 6.6.2).
func (s *stream) guardTrailers() *failure {
	if s.plan == nil {
		return nil
	}
	for i := range s.head {
		if s.head[i].Name != "trailer" {
			continue
		}
		for name := range strings.SplitSeq(s.head[i].Value, ",") {
			if s.plan.Inject.OwnsString(strings.TrimSpace(name)) {
				return ownedTrailer()
			}
		}
	}
	return nil
}

// checkTrailers refuses what an upstream that merges trailers into the head would
// take at its word, as in HTTP/1, and what the route injects in a field.
func (s *stream) checkTrailers(fields []hpack.HeaderField) *failure {
	for i := range fields {
		switch name := fields[i].Name; {
		case http1.ForbiddenTrailer(name):
			return refusal(flow.ReasonBadRequest, "a trailer frames, routes or authenticates")
		case s.plan != nil && s.plan.Inject.OwnsString(name):
			return ownedTrailer()
		}
	}
	return nil
}

func ownedTrailer() *failure {
	return refusal(flow.ReasonBadRequest, "a trailer names a field that the route injects")
}
