package process

import (
	"testing"
	"time"
)

// What two daemons tell of one process is of one process.
func TestStartIsTheSameForEveryResolver(t *testing.T) {
	s := spawn(t, self("wait"))
	var first time.Time
	for range 50 {
		r := NewResolver(Options{})
		got, err := r.Resolve(connected(t, r, s.pid))
		must(t, err)
		if first.IsZero() {
			first = got.Start
		}
		if off := got.Start.Sub(first); off != 0 {
			t.Fatalf("started at %v, and by another at %v", first, got.Start)
		}
	}
}

// Whoever starts after the clock was set has a start by that clock; one that is read a
// moment later is the same.
func TestStartAfterTheClockWasSet(t *testing.T) {
	booted := time.Date(1970, 1, 1, 0, 0, 3, 4_999_990, time.UTC)
	b := boots{read: func() time.Time { return booted }}
	before := b.now()
	booted = booted.Add(20 * time.Nanosecond) // over the middle between two ticks
	if got := b.now(); !got.Equal(before) {
		t.Errorf("booted at %v, and read again at %v", before, got)
	}
	booted = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	if got := b.now(); !got.Equal(booted) {
		t.Errorf("booted at %v once the clock is set, want %v", got, booted)
	}
}
