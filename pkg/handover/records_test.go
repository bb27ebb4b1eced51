package handover

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/outwarden/outwarden/pkg/audit"
)

// kept is a trail of at most so many records.
type kept struct{ room, written int }

func (k *kept) Append(*audit.Record) error {
	if k.written == k.room {
		return audit.ErrClosed
	}
	k.written++
	return nil
}

func (*kept) Waits() bool { return false }

// overtaken is a trail that is left while a record is on its way to it.
type overtaken struct{ leave func() }

func (o *overtaken) Append(*audit.Record) error {
	o.leave()
	return audit.ErrClosed
}

func (*overtaken) Waits() bool { return false }

// TestRecordsOvertaken: a record that was on its way to a place as that was left
// goes to the next one.
func TestRecordsOvertaken(t *testing.T) {
	var r Records
	next := &kept{room: 1}
	r.MoveTo(&overtaken{func() { r.Hold(); r.MoveTo(next) }})
	if err := r.Append(&audit.Record{}); err != nil || next.written != 1 {
		t.Errorf("%v, and %d written in the next place", err, next.written)
	}
}

// TestRecordsWait: before the first place and between two a record waits for the
// next; where none will come it fails.
func TestRecordsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Records
		done := make(chan error, 1)
		write := func() { done <- r.Append(&audit.Record{}) }
		waits := func(where string) {
			t.Helper()
			synctest.Wait()
			select {
			case err := <-done:
				t.Errorf("%s: %v", where, err)
			default:
			}
		}
		mayWait := func(where string, want bool) {
			t.Helper()
			if got := r.Waits(); got != want {
				t.Errorf("%s: Append may wait: %v, want %v", where, got, want)
			}
		}
		mayWait("before the first place", true)
		go write()
		waits("before the first place")
		first, second := &kept{room: 1}, &kept{room: 1}
		r.MoveTo(first)
		if err := <-done; err != nil || first.written != 1 {
			t.Errorf("in the first: %v, %d written", err, first.written)
		}
		mayWait("in the first", false)
		r.Hold()
		mayWait("between two", true)
		go write()
		waits("between two")
		r.MoveTo(second)
		if err := <-done; err != nil || second.written != 1 {
			t.Errorf("in the second: %v, %d written", err, second.written)
		}
		r.Hold()
		go write()
		waits("where no place comes")
		r.End()
		if err := <-done; !errors.Is(err, audit.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		mayWait("after the end", false)
		r.MoveTo(&Remote{})
		mayWait("at the successor's", true)
	})
}
