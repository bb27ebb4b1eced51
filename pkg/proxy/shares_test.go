package proxy

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/outwarden/outwarden/pkg/flow"
)

// TestShares: whatever comes and goes, nobody is over its share when it takes
// more, who has nothing yet finds room while there is any, and nothing is kept
// of who left.
func TestShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 64).Draw(t, "most")
		s, held, total := newShares(most, 1), map[uint64]int{}, 0
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			cgroup := rapid.Uint64Range(0, 5).Draw(t, "cgroup")
			if rapid.IntRange(0, 3).Draw(t, "leave") == 0 {
				if held[cgroup] > 0 {
					s.give(cgroup)
					held[cgroup]--
					total--
				}
				continue
			}
			if total == most {
				continue // no slot: nothing is accepted
			}
			admitted := s.take(cgroup) != nil
			if want := held[cgroup] == 0 || held[cgroup] < most-total; admitted != want {
				t.Fatalf("cgroup %d with %v of %d: admitted %v", cgroup, held, most, admitted)
			}
			if admitted {
				held[cgroup]++
				total++
			}
		}
		for cgroup, n := range held {
			for range n {
				s.give(cgroup)
			}
		}
		if len(s.of) > 0 || s.held != 0 {
			t.Fatalf("left over: %d workloads, %d connections", len(s.of), s.held)
		}
	})
}

// TestTurnThatNeverComes is given up, with a reason of its own.
func TestTurnThatNeverComes(t *testing.T) {
	s := newShares(8, 1)
	first, second := s.take(1), s.take(1)
	if err := first.turn(nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := second.turn(nil, time.Nanosecond); !errors.Is(err, flow.ReasonConnectionLimit) {
		t.Errorf("late: %v", err)
	}
	closed := make(chan struct{})
	close(closed)
	if err := second.turn(closed, time.Hour); !errors.Is(err, flow.ReasonConnectionLimit) {
		t.Errorf("closed: %v", err)
	}
	first.done()
	if err := second.turn(nil, time.Hour); err != nil {
		t.Error(err)
	}
}
