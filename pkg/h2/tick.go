package h2

import (
	"time"

	"golang.org/x/net/http2"
)

// startTimer looks after idle and stalled ends, twice in the shortest of the
// times that the options give.
func (c *Conn) startTimer() {
	every := time.Minute // the flood counters must fall
	for _, d := range [...]time.Duration{c.o.Idle, c.o.Stall, c.o.Patience} {
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
	if c.stuck(now) {
		c.mu.Unlock()
		c.abort(ErrStalled)
		return
	}
	if c.o.Idle > 0 && len(c.streams) == 0 && now.Sub(c.active) > c.o.Idle {
		c.leave(ErrIdle)
	}
	stalled := c.stalled(int(c.o.Stall/every) + 1)
	waiting := c.waiting()
	c.timer.Reset(every)
	c.mu.Unlock()
	var b Batch
	b.note(c)
	for _, s := range stalled {
		s.tell(&b, &Event{Kind: Closed, Err: ErrStalled, Batch: &b})
	}
	for _, s := range waiting {
		s.tell(&b, &Event{Kind: Tick, Passed: every, Batch: &b})
	}
	b.Flush()
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
	return since != 0 && now.Sub(began)-time.Duration(since) > c.o.Stall
}

// stalled resets the streams whose peer has left its window shut for so many
// ticks, and returns them. mu is held.
func (c *Conn) stalled(ticks int) (list []*Stream) {
	if c.o.Stall <= 0 {
		return nil
	}
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

// waiting returns the streams that are told of the time, if any are. mu is held.
func (c *Conn) waiting() (list []*Stream) {
	if c.o.Patience <= 0 {
		return nil
	}
	for _, s := range c.streams {
		list = append(list, s)
	}
	return list
}
