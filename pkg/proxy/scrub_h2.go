package proxy

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/outwarden/outwarden/pkg/h2"
)

// flowing is a content of HTTP/2 on its way through a scrubber.
type flowing struct {
	scrubber                     // nil: it is passed on as it is
	head     []hpack.HeaderField // waits for a content that is short, encoded, and perhaps clean
	encoding string              // of that
	debt     int                 // bytes that came, and for which the upstream was not given window yet
	pause    *time.Timer         // lets go of what is held; nil until something was
	due      time.Time           // when it may
}

func (s *flowing) stop() {
	if s.scrubber != nil {
		s.Stop()
	}
	if s.pause != nil {
		s.pause.Stop()
	}
}

// scrubHead cleans the fields of a response, and makes what looks into its content.
func (s *stream) scrubHead(e *h2.Event, fields []hpack.HeaderField) ([]hpack.HeaderField, *failure) {
	if e.Status < 200 || e.End || s.method == http.MethodHead {
		return s.cleanFields(fields), nil
	}
	d, length := described{status: e.Status, called: s.callsGRPC()}, ""
	for i := range fields {
		d.note(fields[i].Name, fields[i].Value)
		if fields[i].Name == "content-length" {
			d.sized, length = true, fields[i].Value
		}
	}
	var f *failure
	if s.scrub.scrubber, f = s.scrubber(&d); f != nil {
		return nil, f
	}
	fields = s.cleanFields(fields)
	switch {
	case !s.recodes(&d) || s.scrub.scrubber == nil:
		return fields, nil
	case short(length):
		s.scrub.head, s.scrub.encoding = slices.Clone(fields), d.encoding
		return nil, nil
	}
	return recodedFields(fields), nil
}

func (s *stream) callsGRPC() bool {
	return s.method == http.MethodPost && slices.ContainsFunc(s.head, func(f hpack.HeaderField) bool {
		return f.Name == "content-type" && isGRPC(f.Value)
	})
}

// short reports whether a content of this length fits into one frame.
func short(length string) bool {
	const frame = 16 << 10
	n, err := strconv.Atoi(length)
	return err == nil && n <= frame
}

// writeHead sends a head that has waited. A content that is here, and clean, stays
// as it is.
func (s *stream) writeHead(e *h2.Event) {
	fields := s.scrub.head
	s.scrub.head = nil
	if clean, err := s.plan.Scrub.Filter.CleanBody(s.scrub.encoding, e.Data); e.End && clean && err == nil {
		s.scrub.scrubber = nil
	} else {
		fields = recodedFields(fields)
	}
	_ = s.down.WriteHead(e.Batch, fields, false)
}

// recodedFields is the head of a content that will be encoded anew.
func recodedFields(fields []hpack.HeaderField) []hpack.HeaderField {
	kept := make([]hpack.HeaderField, 0, len(fields))
	for _, f := range fields {
		if slices.Contains(changes, f.Name) {
			continue
		}
		if f.Name == "etag" {
			f.Value = weak(f.Value)
		}
		kept = append(kept, f)
	}
	return kept
}

var heads = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// cleanFields scrubs fields. They are looked at as one text first, in which nothing
// is found nearly always.
func (s *stream) cleanFields(fields []hpack.HeaderField) []hpack.HeaderField {
	text := heads.Get().(*bytes.Buffer)
	defer heads.Put(text)
	text.Reset()
	for i := range fields {
		text.WriteString(fields[i].Name)
		text.WriteByte('\n')
		text.WriteString(fields[i].Value)
		text.WriteByte('\n')
	}
	if !s.plan.Scrub.Filter.Has(text.Bytes()) {
		return fields
	}
	cleaned := slices.Clone(fields)
	for i := range cleaned {
		if f := &cleaned[i]; !frames(f.Name) {
			f.Name, f.Value = string(s.cleanName([]byte(f.Name))), string(s.cleanValue([]byte(f.Value)))
		}
	}
	return cleaned
}

// relayScrubbed is relay through the scrubber.
func (s *stream) relayScrubbed(e *h2.Event) {
	if s.scrub.head != nil {
		if s.writeHead(e); s.scrub.scrubber == nil {
			s.relay(e)
			return
		}
	}
	if s.scrub.pause != nil {
		s.scrub.pause.Stop()
	}
	s.scrub.debt += len(e.Data)
	next := s.scrub.Next
	if e.End {
		next = s.scrub.Close
	}
	out, err := next(e.Data)
	s.push(e.Batch, out, e.End, err)
	if !e.End && !s.over && s.scrub.Held() {
		s.awaitPiece()
	}
}

// push sends what the scrubber has let go. The upstream gets window again as that
// leaves.
func (s *stream) push(b *h2.Batch, out []byte, end bool, err error) {
	if err != nil {
		s.end(b, scrubFailure(err))
		return
	}
	if len(out) > 0 || end {
		n, err := s.down.Write(b, out, end)
		if err == nil {
			s.unread += len(out) - n
		}
	}
	s.pay(b, 0)
}

// pay gives the upstream window: for n bytes, or for all that is owed when nothing
// waits for the workload any more. What leaves need not be as long as what came.
func (s *stream) pay(b *h2.Batch, n int) {
	if n = min(n, s.scrub.debt); s.unread == 0 {
		n = s.scrub.debt
	}
	s.scrub.debt -= n
	s.to.Consumed(b, n)
}

// scrubTrailers ends the content and cleans the trailers.
func (s *stream) scrubTrailers(e *h2.Event) []hpack.HeaderField {
	if s.scrub.head != nil {
		s.writeHead(&h2.Event{Batch: e.Batch})
	}
	if s.scrub.scrubber != nil {
		rest, err := s.scrub.Close(nil)
		s.push(e.Batch, rest, false, err)
	}
	if s.over { // the record is being written, with what was found by then
		return nil
	}
	return s.cleanFields(e.Fields)
}

// awaitPiece lets go of what is held, if the content does not go on.
func (s *stream) awaitPiece() {
	s.scrub.due = time.Now().Add(scrubPatience)
	if s.scrub.pause == nil {
		s.scrub.pause = time.AfterFunc(scrubPatience, s.rested)
		return
	}
	s.scrub.pause.Reset(scrubPatience)
}

func (s *stream) rested() {
	var b h2.Batch
	defer b.Flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.answered || time.Now().Before(s.scrub.due) { // it went off for what was held before
		return
	}
	out, err := s.scrub.Pause()
	s.push(&b, out, false, err)
}
