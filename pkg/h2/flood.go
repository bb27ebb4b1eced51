package h2

import "slices"

// flood counts what a peer does that is cheap for it and not for us. Each
// counter falls with honest work, so that long connections are not punished, and
// halves with every tick.
type flood struct {
	noise  int // frames that move nothing: PING, SETTINGS, empty DATA, PRIORITY, ...
	aborts int // streams that the peer reset, or made us reset (CVE-2023-44487, CVE-2025-8671)
	owed   int // answers in the buffer that the peer does not read
}

// useful is called for a frame that moved n bytes, either way, and for each
// request. It earns more than itself, as peers open two windows for each KiB or so
// that they read, and it may do so before they come.
func (f *flood) useful(n int) { f.noise = max(f.noise-1-n/256, -maxEarned) }

// good is called for a stream that both sides ended.
func (f *flood) good() {
	if f.aborts > 0 {
		f.aborts--
	}
}

func (f *flood) halve() { f.noise, f.aborts = min(f.noise, f.noise/2), f.aborts/2 }

// noisy counts one frame. mu is held for all below.
func (c *Conn) noisy() error {
	if c.flood.noise++; c.flood.noise > maxNoise {
		return calm("too many frames that move nothing")
	}
	return nil
}

// owe counts one answer that was put into the buffer because of the peer.
func (c *Conn) owe() error {
	if c.flood.owed++; c.flood.owed > maxNoise || len(c.out) > maxControl && c.flood.owed > maxFragments {
		return calm("answers are not read")
	}
	return nil
}

// unread ends the connection of a peer that asks on and on and does not read the
// answers: no window bounds their heads. It reports whether that is so. Requests to an
// upstream are bounded by its streams, and the connection is not one workload's to end.
func (c *Conn) unread() bool {
	if !c.server || len(c.out) <= maxHeads {
		return false
	}
	c.leave(calm("answers are not read"))
	return true
}

// aborted counts one stream. A server that resets our streams only hurts
// itself, so it is not counted.
func (c *Conn) aborted() error {
	if !c.server {
		return nil
	}
	if c.flood.aborts++; c.flood.aborts > maxAborts {
		return calm("too many streams reset")
	}
	return nil
}

// forgive remembers a stream that we have reset: frames that the peer sent
// before it knew are no error.
func (c *Conn) forgive(id uint32) {
	if c.forgotten == nil {
		c.forgotten = make([]uint32, forgottenAfter)
	}
	c.forgotten[c.forgot%forgottenAfter] = id
	c.forgot++
}

func (c *Conn) forgiven(id uint32) bool { return slices.Contains(c.forgotten, id) }
