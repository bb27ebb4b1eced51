package proxy_test

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
)

// records is a trail in memory.
type records struct {
	mu   sync.Mutex
	all  []audit.Record
	fail error // what Append returns
}

func (*records) Waits() bool { return false }

func (r *records) Append(rec *audit.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	var copied audit.Record // what a reader of the trail sees
	if err := json.Unmarshal(rec.Line(), &copied); err != nil {
		return err
	}
	r.all = append(r.all, copied)
	return nil
}

func (r *records) of(kind string) (out []audit.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range r.all {
		if rec.Kind == kind {
			out = append(out, rec)
		}
	}
	return out
}

func (r *records) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = nil
}

func (r *records) breakWith(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// awaitKind returns the records of a kind once there are n, and fails if there
// are not within some seconds, or more.
func (w *world) awaitKind(kind string, n int) []audit.Record {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if got := w.records.of(kind); len(got) >= n {
			if len(got) > n {
				w.t.Errorf("%d %s records, want %d: %+v", len(got), kind, n, got)
			}
			return got
		}
	}
	w.t.Fatalf("%s records: %+v; want %d", kind, w.records.of(kind), n)
	return nil
}

// request is the record of the only request there was.
func (w *world) request() audit.Record {
	w.t.Helper()
	return w.awaitKind(audit.KindRequest, 1)[0]
}

// connection is the record of the only connection without a request.
func (w *world) connection() audit.Record {
	w.t.Helper()
	return w.awaitKind(audit.KindConnection, 1)[0]
}
