package proxy

import (
	"slices"

	"golang.org/x/net/http2/hpack"

	"github.com/outwarden/outwarden/pkg/h2"
)

// Handle takes an event of the upstream's side.
func (u *upStream) Handle(to *h2.Stream, e *h2.Event) {
	s := (*stream)(u)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.to != to {
		return // it was reset, which gives its windows back
	}
	s.quiet = 0
	s.answered = s.answered || e.End
	switch e.Kind {
	case h2.Head:
		s.response(e)
	case h2.Data:
		s.bytesIn += int64(len(e.Data))
		s.relay(e)
	case h2.Trailers:
		s.bytesIn += size(e.Fields)
		s.relayTrailers(e)
	case h2.Room:
		s.behind -= e.N
		s.freed(e.Batch, e.N)
	case h2.Closed:
		s.lost(e)
	}
	s.conclude()
}

// response passes a head on, an interim one too. From the final one on the
// request cannot be sent again.
func (s *stream) response(e *h2.Event) {
	fields := e.Fields
	s.bytesIn += size(fields)
	if slices.ContainsFunc(fields, alternative) {
		fields = slices.DeleteFunc(slices.Clone(fields), alternative)
	}
	if s.scrubs() {
		var f *failure
		if fields, f = s.scrubHead(e, fields); f != nil {
			s.end(e.Batch, f)
			return
		}
	}
	if e.Status >= 200 {
		s.sent, s.status = true, e.Status
		s.head, s.ahead = nil, nil
	}
	if s.scrub.head == nil {
		_ = s.down.WriteHead(e.Batch, fields, e.End)
	}
}

// alternative is what would lead the workload around us: another protocol or
// port for the same origin (RFC 7838).
func alternative(f hpack.HeaderField) bool {
	return f.Name == "alt-svc" || f.Name == "alternate-protocol"
}

// relay hands a piece of the response on; an event never waits for the next one.
func (s *stream) relay(e *h2.Event) {
	if s.scrub.scrubber != nil {
		s.relayScrubbed(e)
		return
	}
	n, err := s.down.Write(e.Batch, e.Data, e.End)
	if err == nil {
		s.unread += len(e.Data) - n
	}
	s.to.Consumed(e.Batch, n)
}

// room says that n bytes of what was kept have left for the workload.
func (s *stream) room(b *h2.Batch, n int) {
	s.unread -= n
	if s.scrub.scrubber != nil {
		s.pay(b, n)
		return
	}
	s.to.Consumed(b, n)
}

func (s *stream) relayTrailers(e *h2.Event) {
	fields := e.Fields
	if s.scrubs() {
		fields = s.scrubTrailers(e)
	}
	if !s.over {
		_ = s.down.WriteTrailers(e.Batch, fields)
	}
}
