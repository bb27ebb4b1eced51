package daemon

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"
)

// TestPercentFor holds what comes out against the runtime's rule: a heap is collected
// when it has grown by GOGC of what lives, but not below 4 MiB times GOGC.
func TestPercentFor(t *testing.T) {
	for _, room := range []uint64{leastHeadroom, mostHeadroom} {
		for _, live := range []uint64{0, 1 << 10, 1 << 20, 3 << 20, 4 << 20, 8 << 20, 32 << 20, 1 << 30} {
			percent := uint64(percentFor(live, room))
			grows := max(live+live*percent/100, 4<<20*percent/100) - live
			if want := max(room, live); grows > want || grows < want-want/20 {
				t.Errorf("%d live bytes and %d %%: the heap grows by %d, want %d", live, percent, grows, want)
			}
		}
	}
}

func TestHeadroom(t *testing.T) {
	for allocated, want := range map[uint64]uint64{
		0: 8 << 20, 8 << 20: 8 << 20, 8<<20 + 1: 16 << 20, 17 << 20: 32 << 20, 32 << 20: 32 << 20, 1 << 40: 32 << 20,
	} {
		if got := headroom(allocated); got != want {
			t.Errorf("%d bytes between two looks: room for %d, want %d", allocated, got, want)
		}
	}
}

// TestHeapComesBack makes a burst of garbage and waits until the system has its
// memory again.
func TestHeapComesBack(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // only keep collects
	const burst = 64 << 20
	var before, now runtime.MemStats
	debug.FreeOSMemory()
	runtime.ReadMemStats(&before)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	var work sync.WaitGroup
	work.Go(func() { newHeap(func() {}).keep(ctx) })
	defer work.Wait()
	defer cancel()
	time.Sleep(3 * lookEvery) // a first rest, with nothing to do
	waste(burst)
	for ctx.Err() == nil {
		runtime.ReadMemStats(&now)
		if used := func(m *runtime.MemStats) uint64 { return m.HeapSys - m.HeapReleased }; used(&now) < used(&before)+burst/4 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%d bytes of %d are still held", now.HeapSys-now.HeapReleased, now.HeapSys)
}

// waste allocates and touches n bytes, and keeps none.
func waste(n int) {
	for range 8 {
		garbage := make([]byte, n/8)
		for i := 0; i < len(garbage); i += 4096 {
			garbage[i] = 1
		}
		runtime.KeepAlive(garbage)
	}
}
