package authority

import (
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"
)

// leaves is a bounded memory of minted leaves. When it is full the clock hand
// goes round and takes the first leaf that was not used since it last passed
// (second chance), so that a flood of new names cannot push out those in use
// faster than they come back.
type leaves struct {
	mu    sync.RWMutex
	names map[string]*slot
	ring  []*slot // len grows to its capacity, then slots are reused
	hand  int
}

type slot struct {
	name string
	cert *tls.Certificate
	used atomic.Bool
}

func newLeaves(limit int) *leaves {
	return &leaves{names: make(map[string]*slot), ring: make([]*slot, 0, limit)}
}

// get returns a leaf that is valid for a while yet, or nil.
func (l *leaves) get(name string, now time.Time) *tls.Certificate {
	l.mu.RLock()
	s := l.names[name]
	l.mu.RUnlock()
	if s == nil || !lasting(s.cert, now) {
		return nil
	}
	if !s.used.Load() { // a store by every reader would fight over the cache line
		s.used.Store(true)
	}
	return s.cert
}

// lasting reports whether a leaf can still be handed out. One whose life was
// cut short by the root's end is good to its end.
func lasting(cert *tls.Certificate, now time.Time) bool {
	left := cert.Leaf.NotAfter.Sub(now)
	short := cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore) < leafLife-time.Second
	return now.After(cert.Leaf.NotBefore) && (left > leafRenew || short && left > 0)
}

func (l *leaves) put(name string, cert *tls.Certificate) {
	s := &slot{name: name, cert: cert}
	l.mu.Lock()
	defer l.mu.Unlock()
	if old, ok := l.names[name]; ok {
		old.name = "" // its place in the ring is free now
	}
	l.names[name] = s
	if len(l.ring) < cap(l.ring) {
		l.ring = append(l.ring, s)
		return
	}
	l.advance()
	delete(l.names, l.ring[l.hand].name)
	l.ring[l.hand] = s
	l.hand = (l.hand + 1) % len(l.ring)
}

// advance moves the hand to a slot to take. It ends: the second round finds
// what the first has cleared.
func (l *leaves) advance() {
	for l.ring[l.hand].name != "" && l.ring[l.hand].used.Swap(false) {
		l.hand = (l.hand + 1) % len(l.ring)
	}
}
