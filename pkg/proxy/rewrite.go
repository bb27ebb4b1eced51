package proxy

import (
	"fmt"
	"io"
	"strconv"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/inject"
)

// rewrite is content that leaves in the place of what the workload sent: made
// from all of it before the head left, or piece by piece while it passes. A
// request whose content leaves as it came has none.
type rewrite struct {
	whole   []byte         // what was made from all of it; nil: it is changed while it passes
	through io.WriteCloser // takes the workload's content
	out     []byte         // what came of it and has not left
	chunked bool           // HTTP/1 that does not know the length
	owed    int            // HTTP/2: bytes of the workload's window that it still holds
	length  int64          // what the head says of it; -1: nothing
	came    int64          // of that
	twice   bool           // it was to begin on what had been changed already
}

// begin is what Rewrite of a message does. What w has done to the content already
// would be lost under a head that tells of it, so that fails.
func (w *rewrite) begin(r inject.Rewriting, chunked bool) *rewrite {
	if w != nil {
		w.twice = true
		return w
	}
	w = &rewrite{chunked: chunked, length: r.Length}
	w.through = r.Begin((*rewritten)(w))
	return w
}

// sealed reports why the head can't leave.
func (w *rewrite) sealed() error {
	if w != nil && w.twice {
		return errTwice
	}
	return nil
}

var (
	errTwice  = fmt.Errorf("content that was changed can't be signed while it passes: %w", flow.ReasonInternal)
	errLength = fmt.Errorf("the content is not as long as its head says: %w", flow.ReasonBadRequest)
)

// passing reports whether content is changed piece by piece.
func (w *rewrite) passing() bool { return w != nil && w.whole == nil }

// take puts a piece of the workload's content in, and its end if it is over.
func (w *rewrite) take(p []byte, over bool) *failure {
	if len(p) > 0 {
		if _, err := w.through.Write(p); err != nil {
			return applyFailure(err)
		}
	}
	if !over {
		return nil
	}
	if err := w.through.Close(); err != nil {
		return applyFailure(err)
	}
	if w.length >= 0 && w.came != w.length {
		return applyFailure(errLength)
	}
	if w.chunked {
		w.out = append(w.out, "0\r\n\r\n"...)
	}
	return nil
}

// leaves returns what is to be sent now. It is valid until the next take.
func (w *rewrite) leaves() []byte {
	out := w.out
	w.out = w.out[:0]
	return out
}

// rewritten takes what comes out of a rewriting.
type rewritten rewrite

func (w *rewritten) Write(p []byte) (int, error) {
	if w.came += int64(len(p)); w.length >= 0 && w.came > w.length {
		return 0, errLength // what is too long would be the next request
	}
	if !w.chunked {
		w.out = append(w.out, p...)
		return len(p), nil
	}
	if len(p) > 0 { // a chunk of no bytes would be the last one
		w.out = append(strconv.AppendInt(w.out, int64(len(p)), 16), "\r\n"...)
		w.out = append(append(w.out, p...), "\r\n"...)
	}
	return len(p), nil
}

// gathers asks the plan whether it wants all of the content before the head
// leaves.
func (q *request) gathers(m inject.Message) *failure {
	if q.plan == nil {
		return nil
	}
	if err := q.plan.Inject.Admit(m, q.began); err != nil {
		return applyFailure(err)
	}
	why, err := q.plan.Inject.Gathers(m)
	if err != nil {
		return applyFailure(err)
	}
	q.gathering = why
	return nil
}

// handed is what was gathered, as the plan takes it.
func (q *request) handed(p []byte) inject.Content {
	if q.gathering == inject.GatherNothing {
		return inject.Content{}
	}
	return inject.Content{Bytes: p, Limit: q.mostContent()}
}

// mostContent is how much of it may be gathered.
func (q *request) mostContent() int64 {
	if q.gathering == inject.GatherToEdit {
		return q.plan.EditedBody
	}
	return q.plan.SignedBody
}

// tooLarge refuses content that the route wants in memory. It is never cut.
func (q *request) tooLarge() *failure {
	if q.gathering == inject.GatherToEdit {
		return refusal(flow.ReasonBodyTooLarge, "the route writes a credential into the body; see limits.edited_body")
	}
	return refusal(flow.ReasonBodyTooLarge, "the route's signature covers the body; see limits.signed_body")
}
