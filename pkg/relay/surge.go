package relay

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// inRow is how many turns in a row have to move much before one lingers.
	inRow = 4
	// brisk is how soon after a turn the next one begins while a stream is fast.
	brisk = 100 * time.Microsecond
	// lull is how long a turn lingers. The kernel adds to it what it allows timers
	// to be late, which is 50 us.
	lull = 20 * time.Microsecond
)

// surge tells a loop when bytes come so fast that it pays to let more of them
// gather, as network cards do with their interrupts. A loop that is faster than who
// sends is woken for each packet, and to be woken costs more than to move what is in
// it. So while turns follow each other closely and each moves much, a turn begins a
// moment later, with more to do. Whatever asks and answers in turns never waits: a
// turn that moves little ends the surge.
type surge struct {
	row   int   // turns that moved much
	moved int64 // by this turn, in its largest piece
	ended time.Time
}

// begin is called when a turn is due. It lingers in a surge, unless others have had
// the processor meanwhile: then more has come, and who has work must not wait for
// one that has none.
func (s *surge) begin() {
	s.moved = 0
	if s.row < inRow {
		return
	}
	now := time.Now()
	if !s.lasts(now) {
		return
	}
	runtime.Gosched()
	if time.Since(now) < lull {
		nap(lull)
	}
}

// lasts reports whether this is a surge still, and ends it if not.
func (s *surge) lasts(now time.Time) bool {
	if now.Sub(s.ended) > brisk {
		s.row = 0
	}
	return s.row >= inRow
}

// note takes how much one stream has moved at once.
func (s *surge) note(n int64) { s.moved = max(s.moved, n) }

func (s *surge) end() {
	if s.moved < bulk {
		s.row = 0
		return
	}
	if s.row++; s.row >= inRow {
		s.ended = time.Now()
	}
}

// nap stops the thread, or is ended by a signal. The scheduler is not told: it could
// do nothing in so short a time.
func nap(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
}
