package daemon

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// headroom is what the heap may grow by before it is collected, however small it
// is: a busy proxy keeps little and throws much away, and by the runtime's own rule
// would spend a twentieth of its time on collecting a few megabytes.
const headroom = 32 << 20

const (
	lookEvery = 500 * time.Millisecond
	calm      = 4 << 20 // bytes allocated between two looks; less is calm
	worth     = 2 << 20 // bytes to be had back; less is left alone
)

// heap follows the runtime's account of memory.
type heap struct {
	shed    func() // gives caches back to it
	samples []metrics.Sample
	last    heapState
}

type heapState struct {
	allocated  uint64 // since the start
	live       uint64 // when it was last collected
	collection uint64 // how many there were
	held       uint64 // of the system, for the heap and free or garbage
}

func newHeap(shed func()) *heap {
	return &heap{shed: shed, samples: []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
	}}
}

// keep gives the heap its headroom, and what a burst left behind back to the host
// once it is over.
func (h *heap) keep(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for rested := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		before := h.last
		now := h.look()
		if now.collection != before.collection {
			debug.SetGCPercent(percentFor(now.live))
		}
		switch quiet := now.allocated-before.allocated < calm; {
		case !quiet:
			rested = false
		case !rested && now.held > worth:
			h.shed()
			debug.FreeOSMemory()
			rested = true
		}
	}
}

// percentFor is the GOGC with which a heap of that many live bytes grows by the
// headroom, or doubles, whichever is more.
func percentFor(live uint64) int {
	const doubling, most = 100, 100 * headroom / (64 << 10)
	if live == 0 {
		return most
	}
	return int(min(max(100*headroom/live, doubling), most))
}

func (h *heap) look() heapState {
	metrics.Read(h.samples)
	value := func(i int) uint64 { return h.samples[i].Value.Uint64() }
	s := heapState{allocated: value(0), live: value(1), collection: value(2)}
	s.held = value(4) + value(5)
	if objects := value(3); objects > s.live {
		s.held += objects - s.live
	}
	h.last = s
	return s
}
