package h2

import (
	"slices"

	"golang.org/x/net/http2/hpack"
)

// kept is what came of a message while its stream was paused. It is bounded by
// Options.StreamWindow, as it counts as not consumed.
type kept struct {
	on       bool
	end      bool
	data     []byte
	trailers []hpack.HeaderField
	tail     bool // there were trailers
}

// Pause keeps Data and Trailers events from the handler until Resume, for one
// that must wait before it can take them: a dial, a decision from elsewhere. It
// is called from the stream's Handle, and the waiting done in another goroutine.
// Closed still comes at once, and then nothing is kept any more.
func (s *Stream) Pause() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.kept.on = !s.gone
}

// Resume hands the handler what came since Pause, on the calling goroutine, and
// lets further events through.
func (s *Stream) Resume(b *Batch) {
	local := Batch{}
	if b == nil {
		b = &local
	}
	for {
		e, more := s.nextKept()
		if !more {
			break
		}
		e.Batch = b
		s.tell(b, &e)
	}
	local.Flush()
}

// nextKept returns the next event that was kept; there are no more once the
// stream is no longer paused.
func (s *Stream) nextKept() (e Event, more bool) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	k := &s.kept
	switch {
	case !k.on || s.gone:
	case len(k.data) > 0 || k.end && !k.tail:
		e = Event{Kind: Data, Data: k.data, End: k.end && !k.tail}
		k.data = nil
		if e.End {
			s.kept = kept{}
		}
		return e, true
	case k.tail:
		e = Event{Kind: Trailers, Fields: k.trailers, End: true}
		s.kept = kept{}
		return e, true
	}
	s.kept = kept{}
	return e, false
}

// keep takes an event if the stream is paused.
func (s *Stream) keep(e *Event) bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	k := &s.kept
	if !k.on || e.Kind != Data && e.Kind != Trailers {
		return false
	}
	k.end = k.end || e.End
	k.data = append(k.data, e.Data...)
	if e.Kind == Trailers {
		k.tail, k.trailers = true, slices.Clone(e.Fields)
	}
	return true
}
