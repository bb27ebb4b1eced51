package main

import (
	"sync"
	"time"
)

// seen remembers digests for as long as a signature may be valid, in two
// generations: when the young one is old enough, it becomes the old one and the
// old one is forgotten.
type seen struct {
	keep  time.Duration // how long a digest is remembered at least
	limit int           // digests in a generation

	mu         sync.Mutex
	since      time.Time // start of the young generation
	young, old map[[32]byte]struct{}
}

type novelty uint8

const (
	isNew novelty = iota
	isKnown
	isFull // it is not known whether it is new; it must be refused
)

// newSeen remembers for two windows: a timestamp may lie one window ahead, and is
// good for one window after that.
func newSeen(window time.Duration, limit int) *seen {
	return &seen{keep: 2 * window, limit: limit}
}

// add remembers a digest and tells whether it is new.
func (s *seen) add(digest [32]byte, now time.Time) novelty {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.young == nil || now.Sub(s.since) > s.keep {
		s.turn(now)
	}
	if has(s.young, digest) || has(s.old, digest) {
		return isKnown
	}
	if len(s.young) >= s.limit {
		return isFull
	}
	s.young[digest] = struct{}{}
	return isNew
}

func (s *seen) turn(now time.Time) {
	s.old = s.young
	if now.Sub(s.since) > 2*s.keep {
		s.old = nil // so long ago that nothing in it is still good
	}
	s.young, s.since = make(map[[32]byte]struct{}), now
}

func has(m map[[32]byte]struct{}, digest [32]byte) bool {
	_, ok := m[digest]
	return ok
}
