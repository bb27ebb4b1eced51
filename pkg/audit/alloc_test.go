//go:build !race

package audit

import "testing"

// The race detector has sync.Pool throw things away at random, so allocations are
// counted without it.

func TestSharedRecordDoesNotAllocate(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	r := sharedRecord(1)
	if err := l.Append(&r); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() { _ = l.Append(&r) }); n >= 1 {
		t.Errorf("%v allocations a record", n)
	}
}
