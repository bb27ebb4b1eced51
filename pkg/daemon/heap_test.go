package daemon

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"
)

func TestPercentFor(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 51200, 1 << 10: 51200, 1 << 20: 3200, 8 << 20: 400, headroom: 100, 1 << 30: 100,
	} {
		if got := percentFor(live); got != want {
			t.Errorf("%d live bytes: %d %%, want %d", live, got, want)
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
