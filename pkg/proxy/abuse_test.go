package proxy_test

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"

	"github.com/outwarden/outwarden/pkg/audit"
)

// times is how often an abuse is repeated: so often that it shows in the gate,
// in full for `make abuse`, and seldom under -short.
func times(gate, full int) int {
	switch {
	case wholeAbuse():
		return full
	case testing.Short():
		return max(gate/10, 1)
	}
	return gate
}

func wholeAbuse() bool { return os.Getenv("OUTWARDEN_ABUSE") == "full" }

// tally is a trail that keeps no record, only how many there were of a kind and
// reason.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func (*tally) Waits() bool { return false }

func (t *tally) Append(r *audit.Record) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = make(map[string]int)
	}
	t.n[r.Kind+" "+r.Reason]++
	return nil
}

func (t *tally) of(kind, reason string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n[kind+" "+reason]
}

// heap is what is in use, without what only waits to be collected. The rest goes
// back to the system, so that resident memory says the same.
func heap() uint64 {
	runtime.GC()
	debug.FreeOSMemory() // the second collection, which empties what sync.Pool kept over the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
