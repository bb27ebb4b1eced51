package proxy

import (
	"context"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outwarden/outwarden/pkg/h2"
)

// stream is one HTTP/2 request and its response. It has no goroutine of its own
// but while it waits for an upstream: the readers of two connections work on it,
// and mu is held for each event. Nobody waits with mu held.
type stream struct {
	request
	mu       sync.Mutex
	down, to *h2.Stream // to is nil until there is an upstream

	head  []hpack.HeaderField // as received
	out   []hpack.HeaderField // on its way out
	space [12]hpack.HeaderField

	// The request's content.
	length  int64               // content-length, -1 without
	asked   bool                // all of it came
	gather  bool                // all of it is wanted before anything is sent
	rewrite *rewrite            // what leaves in its place; nil: it leaves as it came
	ahead   []byte              // what came before it could be sent, or may have to be sent again
	tail    []hpack.HeaderField // trailers, likewise
	spilled bool                // ahead is not all that came: it cannot be sent again

	// The response.
	sent     bool // its head has left: a refusal is too late
	answered bool // all of it came
	scrub    flowing

	unread, behind int // bytes that the workload, and the upstream, have not taken yet

	waiting context.CancelFunc // of the goroutine that gets an upstream; nil: there is none
	tries   int
	quiet   time.Duration // nothing has happened for so long
	over    bool          // the record is written: nothing of request changes any more
	why     *failure      // of one that was over while it waited
}

type (
	downStream stream // what comes from the workload
	upStream   stream // what comes from the upstream
)

// conclude ends a stream of which everything has arrived where it belongs.
func (s *stream) conclude() {
	if s.asked && s.answered && s.unread == 0 && s.behind == 0 {
		s.finish(nil)
	}
}

// end ends the request with a failure, if there is one: the workload gets it as
// an answer, or RST_STREAM where half a response must not look whole.
func (s *stream) end(b *h2.Batch, f *failure) {
	if f == nil || s.over {
		return
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
	s.scrub.stop()
	if !s.up.IsZero() {
		s.c.snap.Upstream.Put(s.up)
	}
	if s.waiting != nil { // arrive goes on
		s.why = f
		s.waiting()
		return
	}
	if s.c.p.o.Records.Waits() {
		go s.leave(f)
		return
	}
	s.leave(f)
}

// leave writes the record; it may wait for the disk.
func (s *stream) leave(f *failure) {
	defer s.c.tasks.Done()
	s.record(f)
}

// size is what fields have in them, as bytes_in and bytes_out count them.
func size(fields []hpack.HeaderField) (n int64) {
	for i := range fields {
		n += int64(len(fields[i].Name) + len(fields[i].Value))
	}
	return n
}
