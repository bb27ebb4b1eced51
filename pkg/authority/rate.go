package authority

import (
	"sync"
	"time"
)

// burst is how many seconds' worth of leaves may be minted at once.
const burst = 4

// bucket bounds how fast leaves are minted: a leaf costs a signature, and names
// come from whoever connects.
type bucket struct {
	perSecond float64
	clock     func() time.Time

	mu     sync.Mutex
	tokens float64
	last   time.Time
}

func newBucket(perSecond int, clock func() time.Time) *bucket {
	return &bucket{float64(perSecond), clock, sync.Mutex{}, float64(perSecond * burst), clock()}
}

// take reports whether one more leaf may be minted now.
func (b *bucket) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock()
	if passed := now.Sub(b.last).Seconds(); passed > 0 {
		b.tokens = min(b.tokens+passed*b.perSecond, b.perSecond*burst)
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
