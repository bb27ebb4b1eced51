package h2

import (
	"time"

	"golang.org/x/net/http2"
)

// startTimer looks after idle and stalled ends, twice in the shortest of the
// times that the options give.
func (c *Conn) startTimer() {
	every := time.Minute // the flood counters must fall
	for _, d := range [...]time.Duration{c.o.Idle, c.o.Stall, c.o.Ping} {
		if d > 0 {
			every = min(every, d)
		}
	}
	every = max(every/2, minimalTick)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(every, func() { c.tick(every) })
}

func (c *Conn) stopTimer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer.Stop()
	c.timer = nil
}

func (c *Conn) tick(every time.Duration) {
	c.mu.Lock()
	if c.dead || c.timer == nil {
		c.mu.Unlock()
		return
	}
	c.ticks++
	c.flood.halve()
	now := time.Now()
	stuck := c.stuck(now) || c.mute(every)
	if !stuck && c.o.Idle > 0 && len(c.streams) == 0 && now.Sub(c.active) > c.o.Idle {
		c.leave(ErrIdle)
	}
	var stalled []*Stream
	if c.o.Stall > 0 {
		stalled = c.stalled(int(c.o.Stall/every) + 1)
	}
	c.timer.Reset(every)
	c.mu.Unlock()
	if stuck {
		c.abort(ErrStalled)
		return
	}
	c.flush()
	c.giveUp(stalled)
}

// stuck reports whether the peer does not read, or has left a frame or the
// preface half sent. mu is held.
func (c *Conn) stuck(now time.Time) bool {
	if c.o.Stall <= 0 {
		return false
	}
	if !c.wroteAt.IsZero() && now.Sub(c.wroteAt) > c.o.Stall {
		return true
	}
	since := c.reader.partialSince.Load()
	return since != 0 && now.Sub(time.Unix(0, since)) > c.o.Stall
}

// mute asks a peer that is silent while it has streams whether it is there, and
// reports whether it did not answer. mu is held.
func (c *Conn) mute(every time.Duration) bool {
	if c.o.Ping <= 0 || c.reader.heard.Swap(false) || len(c.streams) == 0 {
		c.silent = 0
		return false
	}
	before := c.silent
	c.silent += every
	if before < c.o.Ping && c.silent >= c.o.Ping {
		c.out = appendPing(c.out, 0, alivePing)
	}
	return c.silent >= 2*c.o.Ping
}

var alivePing = []byte("alive h2")

// stalled resets the streams whose peer has left its window shut for so many
// ticks, and returns them. mu is held.
func (c *Conn) stalled(ticks int) (list []*Stream) {
	for _, s := range c.streams {
		if s.pending.len() > 0 && min(s.window, c.window) <= 0 && c.ticks-s.moved > ticks {
			list = append(list, s)
		}
	}
	for _, s := range list {
		s.reset(http2.ErrCodeCancel)
	}
	return list
}

func (c *Conn) giveUp(stalled []*Stream) {
	if len(stalled) == 0 {
		return
	}
	var b Batch
	b.note(c)
	for _, s := range stalled {
		s.tell(&b, &Event{Kind: Closed, Err: ErrStalled, Batch: &b})
	}
	b.Flush()
}
