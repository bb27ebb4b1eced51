package daemon

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Headroom is what the heap may grow by before it is collected, however small it
// is: a busy proxy keeps little and throws much away, and by the runtime's own rule
// would spend a twentieth of its time on collecting a few megabytes. It is what is
// allocated between two looks: collected twice a second is seldom enough, and each
// page of room beyond costs a fault, more than to collect what lies on it.
const (
	leastHeadroom = 8 << 20
	mostHeadroom  = 32 << 20
)

const (
	lookEvery = 500 * time.Millisecond
	calm      = 4 << 20 // bytes allocated between two looks; less is calm
	rest      = 2       // calm looks in a row; a burst each second need not fault its memory in each time
	worth     = 2 << 20 // bytes to be had back; less is left alone
)

// heap follows the runtime's account of memory.
type heap struct {
	shed    func() // gives caches back to it
	samples []metrics.Sample
	last    heapState
	room    uint64 // the headroom it has
	calms   int    // looks since it was busy
	rested  bool   // what was to be had back is, since then
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
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.tend()
		}
	}
}

func (h *heap) tend() {
	before := h.last
	now := h.look()
	allocated := now.allocated - before.allocated
	if room := headroom(allocated); now.collection != before.collection || room != h.room {
		h.room = room
		debug.SetGCPercent(percentFor(now.live, room))
	}
	if h.calms++; allocated >= calm {
		h.calms, h.rested = 0, false
	}
	if h.calms >= rest && !h.rested && now.held > worth {
		h.shed()
		debug.FreeOSMemory()
		h.rested = true
	}
}

// headroom is the room for so much between two looks, in few steps: to change it
// stops the world for a moment.
func headroom(allocated uint64) uint64 {
	room := uint64(leastHeadroom)
	for room < min(allocated, mostHeadroom) {
		room *= 2
	}
	return room
}

// smallest is the size from which the runtime takes a heap to have grown, with a GOGC
// of 100; it is in proportion with another.
const smallest = 4 << 20

// percentFor is the GOGC with which a heap of that many live bytes grows by the
// headroom, or doubles, whichever is more.
func percentFor(live, room uint64) int {
	percent := 100 * (live + room) / smallest
	if live > 0 {
		percent = min(percent, 100*room/live)
	}
	return int(max(percent, 100))
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
