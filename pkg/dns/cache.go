package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	minTTL      = time.Second
	maxTTL      = 5 * time.Minute
	negativeTTL = 5 * time.Second
	maxEntries  = 4096
)

// entry is one cached answer; without addresses it says that there are none.
type entry struct {
	addrs   []netip.Addr
	expires time.Time
}

func (e entry) result(name string) ([]netip.Addr, error) {
	if len(e.addrs) == 0 {
		return nil, fmt.Errorf("look up %s: %w", name, ErrNotFound)
	}
	return slices.Clone(e.addrs), nil
}

// cache is bounded: a name beyond the limit takes an arbitrary other's place. The
// zero value is ready.
type cache struct {
	mu sync.Mutex
	m  map[string]entry
}

func (c *cache) get(name string, now time.Time) (entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.m[name]
	return e, ok && now.Before(e.expires)
}

func (c *cache) put(name string, a answer, now time.Time) entry {
	ttl := min(max(a.ttl, minTTL), maxTTL)
	if len(a.addrs) == 0 {
		ttl = negativeTTL
	}
	e := entry{a.addrs, now.Add(ttl)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = make(map[string]entry)
	}
	if _, known := c.m[name]; !known && len(c.m) >= maxEntries {
		c.shrink(now)
	}
	c.m[name] = e
	return e
}

// shrink makes room for one entry, and drops what has expired.
func (c *cache) shrink(now time.Time) {
	for name, e := range c.m {
		if !now.Before(e.expires) {
			delete(c.m, name)
		}
	}
	for name := range c.m {
		if len(c.m) < maxEntries {
			return
		}
		delete(c.m, name)
	}
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.m)
}
