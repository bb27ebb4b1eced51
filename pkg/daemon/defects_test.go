package daemon

import (
	"fmt"
	"testing"
	"time"
)

// What repeats is told once a second, with how often it came meanwhile; another is
// told at once, and however many there are, few are remembered.
func TestDefects(t *testing.T) {
	var d defects
	now := time.Now()
	for i, want := range []struct {
		text  string
		after time.Duration
		more  int
		due   bool
	}{
		{"full", 0, 0, true}, {"full", 1, 0, false}, {"other", 2, 0, true}, {"full", 999 * time.Millisecond, 0, false},
		{"full", time.Second, 2, true}, {"full", time.Second + 1, 0, false}, {"full", 2 * time.Second, 1, true}, {"other", 3 * time.Second, 0, true},
	} {
		if more, due := d.due(want.text, now.Add(want.after)); more != want.more || due != want.due {
			t.Errorf("%d: %d, %v; want %d, %v", i, more, due, want.more, want.due)
		}
	}
	for i := range 10 * mostDefects {
		d.due(fmt.Sprint(i), now)
	}
	if len(d.told) > mostDefects {
		t.Errorf("%d are remembered", len(d.told))
	}
}
