package replay

import (
	"maps"
	"sync"
	"time"
)

// Clock gives each credential times that only rise, so that no two of its
// signatures bear the same one. It may be used by several goroutines.
type Clock struct {
	grain time.Duration
	ahead time.Duration
	mu    sync.Mutex
	last  map[string]time.Time
}

// NewClock returns a Clock whose times are whole grains (time.Second for a
// scheme that sends seconds) and run ahead of the time by no more than ahead: a
// credential used more often than once a grain borrows from the future, and the
// receiver's window ends that. last is what Last gave before a restart, or nil.
func NewClock(grain, ahead time.Duration, last map[string]time.Time) *Clock {
	c := &Clock{grain: max(grain, 1), ahead: ahead, last: map[string]time.Time{}}
	maps.Copy(c.last, last)
	return c
}

// Next is the time to sign with: now in whole grains, or the grain after the
// credential's last, whichever is later. ErrAhead if that is too far in the
// future; the time is not used up then.
func (c *Clock) Next(credential string, now time.Time) (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := now.Round(0).Truncate(c.grain)
	if last, ok := c.last[credential]; ok && !t.After(last) {
		t = last.Add(c.grain)
	}
	if t.Sub(now) > c.ahead {
		return time.Time{}, ErrAhead
	}
	c.last[credential] = t
	return t, nil
}

// Rise is Next for who signs a nonce too, or can't wait: a credential that has
// borrowed all it may has its last time again. A clock that was set back by more is
// followed, since receivers go by what it is now. A nil Clock gives now.
func (c *Clock) Rise(credential string, now time.Time) time.Time {
	if c == nil {
		return now
	}
	if t, err := c.Next(credential, now); err == nil {
		return t
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := c.last[credential]; last.Sub(now) <= c.ahead {
		return last
	}
	t := now.Round(0).Truncate(c.grain)
	c.last[credential] = t
	return t
}

// Last is the last time of each credential, for NewClock after a restart.
func (c *Clock) Last() map[string]time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.last)
}

// Forget drops a credential that is no longer used.
func (c *Clock) Forget(credential string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.last, credential)
}
