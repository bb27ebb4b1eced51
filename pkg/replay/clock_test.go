package replay

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestClockRises: strictly, for each credential, over restarts and clock steps,
// never too far ahead, and on whole grains.
func TestClockRises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		grain := rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second}).Draw(t, "grain")
		c := NewClock(grain, 3*time.Second, nil)
		last := map[string]time.Time{}
		now := begin
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(-500, 900).Draw(t, "pass")) * time.Millisecond)
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				c = NewClock(grain, 3*time.Second, c.Last())
			}
			name := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "credential")
			at, err := c.Next(name, now)
			if err != nil {
				if !errors.Is(err, ErrAhead) || last[name].Add(grain).Sub(now) <= 3*time.Second {
					t.Fatalf("%v at %s, last %s", err, now, last[name])
				}
				continue
			}
			if !at.After(last[name]) || at.Sub(now) > 3*time.Second || !at.Equal(at.Truncate(grain)) {
				t.Fatalf("%s after %s at %s", at, last[name], now)
			}
			last[name] = at
		}
	})
}

func TestClockForget(t *testing.T) {
	c := NewClock(time.Second, 0, nil)
	if _, err := c.Next("a", begin); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Next("a", begin); !errors.Is(err, ErrAhead) {
		t.Errorf("twice in a grain and nothing to borrow: %v", err)
	}
	c.Forget("a")
	if _, err := c.Next("a", begin); err != nil || len(c.Last()) != 1 {
		t.Errorf("forgotten: %v", err)
	}
}

// TestRiseNeverRefuses: it rises while it may, then stays, and follows a clock that
// was set back.
func TestRiseNeverRefuses(t *testing.T) {
	c := NewClock(time.Second, 3*time.Second, nil)
	now := begin.Truncate(time.Second)
	for i, want := range []time.Duration{0, 1, 2, 3, 3, 3} {
		if at := c.Rise("a", now); !at.Equal(now.Add(want * time.Second)) {
			t.Errorf("time %d is %s after now, want %ds", i, at.Sub(now), want)
		}
	}
	if at := c.Rise("b", now); !at.Equal(now) {
		t.Errorf("another credential: %s", at.Sub(now))
	}
	if at := c.Rise("a", now.Add(2*time.Second)); !at.Equal(now.Add(4 * time.Second)) {
		t.Errorf("two seconds later: %s", at.Sub(now))
	}
	back := now.Add(-time.Hour)
	for i := range 2 {
		if at := c.Rise("a", back); !at.Equal(back.Add(time.Duration(i) * time.Second)) {
			t.Errorf("set back: %s", at.Sub(back))
		}
	}
	var none *Clock
	if at := none.Rise("a", now); !at.Equal(now) {
		t.Errorf("no clock: %s", at)
	}
}
