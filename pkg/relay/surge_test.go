package relay

import (
	"testing"
	"time"
)

// turns takes a loop through turns that move so much in their pieces.
func (s *surge) turns(pieces ...[]int64) {
	for _, moved := range pieces {
		s.moved = 0
		for _, n := range moved {
			s.note(n)
		}
		s.end()
	}
}

// TestSurge: only turns that each move much at once, and follow each other closely,
// make one linger. Who asks and answers in turns, or sends little, never waits.
func TestSurge(t *testing.T) {
	much, little := []int64{bulk}, []int64{bulk - 1, 1}
	for name, c := range map[string]struct {
		turns  [][]int64
		later  time.Duration
		surges bool
	}{
		"a stream":             {[][]int64{much, much, much, much}, 0, true},
		"one that goes on":     {[][]int64{much, much, much, much, much, much}, brisk, true},
		"beside what is small": {[][]int64{{1, bulk}, {bulk, 0, 3}, much, {0, bulk}}, 0, true},
		"its beginning":        {[][]int64{much, much, much}, 0, false},
		"a stop":               {[][]int64{much, much, much, much}, brisk + 1, false},
		"question and answer":  {[][]int64{much, little, much, little, much, little, much}, 0, false},
		"a question behind it": {[][]int64{much, much, much, much, much, {300}}, 0, false},
		"nothing behind it":    {[][]int64{much, much, much, much, nil}, 0, false},
		"small pieces":         {[][]int64{little, little, little, little, little}, 0, false},
	} {
		var s surge
		s.turns(c.turns...)
		if got := s.lasts(s.ended.Add(c.later)); got != c.surges {
			t.Errorf("%s: a surge: %v, want %v", name, got, c.surges)
		}
		if c.later > brisk && s.row != 0 {
			t.Errorf("%s: %d turns still count", name, s.row)
		}
	}
}
