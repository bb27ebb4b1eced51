package wire

import (
	"sync/atomic"
	"time"
)

// began is what deadlines are counted from: one reading of a clock tells how long
// ago that was, where time.Now needs two.
var began = time.Now()

// until is when a deadline ends, in nanoseconds since began; 0: there is none. It is
// kept beside the socket's, because to set that costs a timer each time.
type until struct{ at atomic.Int64 }

func (u *until) set(t time.Time) {
	if t.IsZero() {
		u.at.Store(0)
		return
	}
	u.at.Store(int64(t.Sub(began)))
}

// due returns the deadline to set so that there is between half of d and d left;
// false if there is.
func (u *until) due(d time.Duration) (time.Time, bool) {
	now := time.Since(began)
	left := time.Duration(u.at.Load()) - now
	if left >= d/2 && left <= d {
		return time.Time{}, false
	}
	return began.Add(now + d), true
}

// ExtendRead lets the peer be silent for between half of d and d from now on. It
// is cheap enough for every call.
func (c *Conn) ExtendRead(d time.Duration) {
	if t, due := c.readUntil.due(d); due {
		_ = c.SetReadDeadline(t)
	}
}

// ExtendWrite is ExtendRead for a peer that takes nothing.
func (c *Conn) ExtendWrite(d time.Duration) {
	if t, due := c.writeUntil.due(d); due {
		_ = c.SetWriteDeadline(t)
	}
}

// SetReadDeadline sets the deadline of present and future Reads; zero: none.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.readUntil.set(t)
	return c.tcp.SetReadDeadline(t)
}

// SetWriteDeadline is SetReadDeadline for Writes.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writeUntil.set(t)
	return c.tcp.SetWriteDeadline(t)
}

// SetDeadline sets both.
func (c *Conn) SetDeadline(t time.Time) error {
	c.readUntil.set(t)
	c.writeUntil.set(t)
	return c.tcp.SetDeadline(t)
}
