package authority

import (
	"sync"
	"time"
)

// burst is how many seconds' worth of leaves may be minted at once.
const burst = 4

// maxWorkloads bounds the workloads that the rate remembers. Who minted nothing
// for a while is forgotten before, and loses nothing by it.
const maxWorkloads = 1024

// rate bounds how fast leaves are minted: a leaf costs a signature, and names
// come from whoever connects. One workload has half of it, so that others get
// theirs beside one that asks for names without end.
type rate struct {
	perSecond float64
	clock     func() time.Time

	mu  sync.Mutex
	all bucket
	of  map[uint64]*bucket // by workload
}

// bucket holds the leaves that may be minted now.
type bucket struct {
	tokens float64
	last   time.Time
}

func newRate(perSecond int, clock func() time.Time) *rate {
	r := &rate{perSecond: float64(perSecond), clock: clock, of: make(map[uint64]*bucket)}
	r.all = bucket{r.perSecond * burst, clock()}
	return r
}

// take reports whether one more leaf may be minted for a workload now.
func (r *rate) take(workload uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, half := r.clock(), max(r.perSecond/2, 1)
	own := r.bucket(workload, half, now)
	r.all.refill(r.perSecond, now)
	own.refill(half, now)
	if r.all.tokens < 1 || own.tokens < 1 {
		return false
	}
	r.all.tokens--
	own.tokens--
	return true
}

func (r *rate) bucket(workload uint64, perSecond float64, now time.Time) *bucket {
	if b := r.of[workload]; b != nil {
		return b
	}
	if len(r.of) >= maxWorkloads {
		r.forget(now)
	}
	b := &bucket{perSecond * burst, now}
	r.of[workload] = b
	return b
}

// forget makes room for one more workload, first of all by those whose bucket is
// full again.
func (r *rate) forget(now time.Time) {
	for workload, b := range r.of {
		if now.Sub(b.last) >= burst*time.Second {
			delete(r.of, workload)
		}
	}
	for workload := range r.of {
		if len(r.of) < maxWorkloads {
			return
		}
		delete(r.of, workload)
	}
}

func (b *bucket) refill(perSecond float64, now time.Time) {
	if passed := now.Sub(b.last).Seconds(); passed > 0 {
		b.tokens = min(b.tokens+passed*perSecond, perSecond*burst)
	}
	b.last = now
}
