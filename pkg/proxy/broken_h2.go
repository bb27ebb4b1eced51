package proxy

import (
	"errors"
	"net/http"
	"strconv"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/h2"
)

// left takes the early end of the workload's stream. A response that it has
// whole stands if it only has no more to say.
func (s *stream) left(e *h2.Event) {
	code, said := resetBy(e.Err)
	if s.to != nil && said {
		s.to.Reset(e.Batch, code)
	}
	if said && s.answered && s.unread == 0 {
		s.finish(nil)
		return
	}
	f := workloadBroke(e.Err)
	f.status = 0 // its stream is gone
	s.end(e.Batch, f)
}

// lost takes the early end of the upstream's stream. A response that is whole
// stands, however much of the content it was an answer to.
func (s *stream) lost(e *h2.Event) {
	if s.answered {
		s.down.Reset(e.Batch, http2.ErrCodeNo)
		s.finish(nil)
		return
	}
	if s.sent {
		if code, said := resetBy(e.Err); said && code != http2.ErrCodeNo {
			s.down.Reset(e.Batch, code)
		}
		s.end(e.Batch, s.alerted(upstreamLost(e.Err), e.Err))
		return
	}
	if code, said := resetBy(e.Err); said && code == http2.ErrCodeHTTP11Required {
		s.down.Reset(e.Batch, code) // the workload may know how to ask again, as for NTLM and Negotiate it must
		s.finish(upstreamLost(e.Err))
		return
	}
	s.end(e.Batch, s.again(e.Err))
}

// resetBy returns the code of a stream that its peer has reset.
func resetBy(err error) (code http2.ErrCode, said bool) {
	var reset *h2.StreamError
	if errors.As(err, &reset) && reset.Remote {
		return reset.Code, true
	}
	return 0, false
}

// isBroken reports whether a connection just ended, and nobody said why.
func isBroken(err error) bool {
	var stream *h2.StreamError
	var conn *h2.ConnError
	return !errors.As(err, &stream) && !errors.As(err, &conn) && !errors.Is(err, h2.ErrStalled)
}

// workloadBroke says why a stream or a connection of the workload's ended before
// it was whole: it left, it stalled, or it said what cannot be.
func workloadBroke(err error) *failure {
	var stream *h2.StreamError
	var conn *h2.ConnError
	switch {
	case errors.As(err, &stream) && !stream.Remote:
		return refusal(flow.ReasonBadRequest, stream.Detail)
	case errors.As(err, &conn) && !conn.Remote:
		return refusal(flow.ReasonBadRequest, conn.Detail)
	case errors.Is(err, h2.ErrStalled):
		return refusal(flow.ReasonWorkloadTimeout, "")
	}
	return refusal(flow.ReasonWorkloadClosed, "")
}

// upstreamLost says the same of the upstream.
func upstreamLost(err error) *failure {
	var stream *h2.StreamError
	var conn *h2.ConnError
	switch {
	case errors.As(err, &stream) && stream.Remote:
		return refusal(flow.ReasonUpstreamClosed, "the upstream reset the stream: "+stream.Code.String())
	case errors.As(err, &stream):
		return refusal(flow.ReasonUpstreamResponse, stream.Detail)
	case errors.As(err, &conn) && conn.Remote:
		return refusal(flow.ReasonUpstreamClosed, "the upstream ended the connection: "+conn.Code.String())
	case errors.As(err, &conn):
		return refusal(flow.ReasonUpstreamResponse, conn.Detail)
	case errors.Is(err, h2.ErrStalled):
		return refusal(flow.ReasonUpstreamTimeout, "")
	}
	return refusal(flow.ReasonUpstreamClosed, "")
}

// tick ends a stream on which nothing has happened for too long.
func (s *stream) tick(e *h2.Event) {
	if s.waiting != nil { // the pool has a patience of its own
		return
	}
	limit := s.c.p.o.Timeouts.BodyStall
	if s.asked && !s.sent {
		limit = s.c.p.o.Timeouts.Response
	}
	if s.quiet += e.Passed; s.quiet-e.Passed < limit { // the first tick came early
		return
	}
	s.end(e.Batch, s.blame())
}

// blame says who is waited for.
func (s *stream) blame() *failure {
	workload := s.unread > 0 || s.answered || !s.asked && !s.sent && s.behind == 0
	if workload {
		return refusal(flow.ReasonWorkloadTimeout, "")
	}
	return refusal(flow.ReasonUpstreamTimeout, "")
}

// refuse answers in the upstream's stead. What else comes of the request is of no
// interest.
func (s *stream) refuse(b *h2.Batch, f *failure) {
	body := f.answer()
	s.status = f.status
	head := s.method == http.MethodHead
	_ = s.down.WriteHead(b, []hpack.HeaderField{
		{Name: ":status", Value: strconv.Itoa(f.status)},
		{Name: "content-type", Value: "text/plain; charset=utf-8"},
		{Name: "outwarden-reason", Value: f.reason.String()},
		{Name: "content-length", Value: strconv.Itoa(len(body))},
	}, head)
	if !head {
		_, _ = s.down.Write(b, []byte(body), true)
	}
	s.down.Reset(b, http2.ErrCodeNo)
}
