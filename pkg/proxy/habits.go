package proxy

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"

	"github.com/outwarden/outwarden/pkg/flow"
)

// habits is what became of the last connection of a process to an address: was it
// passed through? It tells where to wait for what the next one says, and nothing
// else: that is decided anew from what it does say.
type habits struct {
	seed   maphash.Seed
	passed *[habitual]atomic.Uint64
}

// habitual is how many are remembered. Two that share a place forget each other.
const habitual = 1024

// habit is whose it is.
type habit struct {
	pid uint32
	to  netip.AddrPort
}

func newHabits() habits { return habits{maphash.MakeSeed(), new([habitual]atomic.Uint64)} }

func (h *habits) at(f *flow.Flow) (place *atomic.Uint64, mark uint64) {
	mark = maphash.Comparable(h.seed, habit{f.Caller.PID, f.Original})
	return &h.passed[mark%habitual], mark
}

// passes reports whether the last one was passed through by its name.
func (h *habits) passes(f *flow.Flow) bool {
	place, mark := h.at(f)
	return place.Load() == mark
}

// learn takes note of one that is passed through.
func (h *habits) learn(f *flow.Flow) {
	place, mark := h.at(f)
	place.Store(mark)
}

// forget takes note of one that was not, or not at once.
func (h *habits) forget(f *flow.Flow) {
	place, mark := h.at(f)
	place.CompareAndSwap(mark, 0)
}
