package process

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// boots tells when the machine booted, by the clock as it is now: early after boot that
// may be years off until somebody sets it. As long as nobody does, the answer is the
// same for every daemon, and so is the start of a process that several of them tell of.
type boots struct {
	read func() time.Time

	mu sync.Mutex
	at time.Time
}

// now rounds to a tick, which is all that is known of a process's start. One tick more or
// less is no other clock: a time may lie just between two.
func (b *boots) now() time.Time {
	fresh := b.read().Round(tick)
	b.mu.Lock()
	defer b.mu.Unlock()
	if d := fresh.Sub(b.at); d < -tick || d > tick {
		b.at = fresh
	}
	return b.at
}

// bootedAt takes the two clocks as close to one another as it can: what keeps it from
// the processor in between would be taken for a part of the time.
func bootedAt() time.Time {
	const tries = 4
	var booted time.Time
	for n, least := 0, time.Duration(0); n < tries; n++ {
		before := time.Now()
		up := sinceBoot()
		if took := time.Since(before); n == 0 || took < least {
			least, booted = took, before.Add(took/2-up)
		}
	}
	return booted.Round(0).UTC()
}

func sinceBoot() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail: the clock exists since Linux 2.6.39
	return time.Duration(ts.Nano())
}
