package replay

import (
	"fmt"
	"sync"
	"time"
)

// Options are a Cache's settings.
type Options struct {
	// Path is the journal's path prefix, in a directory that exists; "" keeps
	// nothing over a restart. Path.0, Path.1 and Path.lock are written, mode 0600.
	Path   string
	Window time.Duration // how old a message may be
	Skew   time.Duration // how far its time may lie ahead
	// Capacity is how many signatures and nonces one generation holds; there are
	// two, at about 50 bytes each.
	Capacity int
	// Fair has no KeyID hold more of the young generation than is left free in it, so
	// that none fills the cache for the others. It is counted anew after a restart.
	Fair bool
	// Sync waits for the disk on each message.
	Sync bool
	// Now is the time at which the cache begins; zero: time.Now.
	Now time.Time
}

// Cache remembers messages. It may be used by several goroutines.
type Cache struct {
	window, skew, span time.Duration
	capacity           int
	fair               bool

	mu      sync.Mutex
	young   generation
	old     generation
	held    map[string]int // of young, by KeyID, where it is to be fair
	latest  time.Time      // the latest time that was seen: the cache's clock
	floor   time.Time      // nothing signed before is accepted
	journal *journal       // nil: none

	path      string // of the journal; "": none
	sync      bool
	waiting   chan struct{}                            // closed when it is known who decides; nil: it is
	elsewhere func(m Message, at, now time.Time) error // nil: we do
}

// generation is what was accepted since its start.
type generation struct {
	start time.Time
	seen  map[mark]struct{}
}

// Open returns a Cache with what its journal holds. Close it.
func Open(o Options) (*Cache, error) {
	c, err := newCache(&o)
	if err != nil {
		return nil, err
	}
	if err := c.open(o.Now); err != nil {
		return nil, err
	}
	return c, nil
}

func newCache(o *Options) (*Cache, error) {
	if o.Window <= 0 || o.Skew < 0 || o.Capacity <= 0 {
		return nil, ErrOptions
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	o.Now = o.Now.Round(0) // wall time: journals outlive the monotonic clock
	return &Cache{window: o.Window, skew: o.Skew, span: o.Window + o.Skew, capacity: o.Capacity, fair: o.Fair, held: map[string]int{}, path: o.Path, sync: o.Sync}, nil
}

// open begins with what the journal holds.
func (c *Cache) open(now time.Time) error {
	c.latest = now
	c.young = newGeneration(now)
	c.old = newGeneration(now)
	if c.path == "" {
		c.floor = now.Add(c.skew)
		return nil
	}
	j, fresh, err := openJournal(c.path, c.sync)
	if err != nil {
		return err
	}
	c.journal = j
	if err := c.load(fresh, now); err != nil {
		_ = j.close() // the first error tells more
		return err
	}
	return nil
}

func newGeneration(start time.Time) generation {
	return generation{start, make(map[mark]struct{})}
}

// load takes the journal's generations over; a journal that is new knows nothing
// of what was accepted before, so the floor holds.
func (c *Cache) load(fresh bool, now time.Time) error {
	if fresh {
		c.floor = now.Add(c.skew)
		if wrote := c.journal.wrote.Add(c.skew); wrote.After(c.floor) { // the clock was set back meanwhile
			c.floor = wrote
		}
		return c.journal.begin(c.young.start, c.floor)
	}
	lost := c.journal.lost()
	young, old, floor, latest := c.journal.state()
	if lost {
		floor = now.Add(c.skew)
	}
	// What was accepted before the older generation began is forgotten: it was too old
	// for the window of then, and need not be for ours.
	if known := old.start.Add(c.skew); known.After(floor) {
		floor = known
	}
	c.young, c.old, c.floor = young, old, floor
	if latest.After(now) {
		c.latest = latest
	}
	return c.age(c.latest)
}

// Accept returns nil if m, signed at, is new and in the window at now, and
// remembers it. Otherwise ErrReplayed, ErrStale, ErrSetBack, ErrEarly, ErrFull or
// ErrJournal. A zero at is stale, and of no matter if m is untimed.
func (c *Cache) Accept(m Message, at, now time.Time) error {
	c.mu.Lock()
	c.await()
	if accept := c.elsewhere; accept != nil {
		c.mu.Unlock()
		return accept(m, at, now)
	}
	defer c.mu.Unlock()
	at, now = at.Round(0), now.Round(0)
	if now.After(c.latest) {
		c.latest = now
	}
	clock := now
	now = c.latest
	if m.Untimed {
		at = now
	}
	switch {
	case at.Before(now.Add(-c.window)), !c.floor.IsZero() && !at.After(c.floor):
		return c.stale(at, clock)
	case at.After(now.Add(c.skew)):
		return ErrEarly
	}
	if err := c.age(now); err != nil {
		return err
	}
	return c.add(m.KeyID, m.marks(), now)
}

// stale says whether it is the message that is too old, or the clock that was set back.
func (c *Cache) stale(at, clock time.Time) error {
	if ends := c.ahead(clock); !ends.IsZero() && !at.Before(clock.Add(-c.window)) {
		return fmt.Errorf("%w: until %s", ErrSetBack, ends.UTC().Format(time.RFC3339))
	}
	return ErrStale
}

// ahead is until when the clock shows a time again that the cache has seen; zero: it
// does not.
func (c *Cache) ahead(clock time.Time) (ends time.Time) {
	if c.latest.After(clock) {
		ends = c.latest
	}
	if floor := c.floor.Add(-c.skew); floor.After(clock) && floor.After(ends) {
		ends = floor
	}
	return ends
}

// SetBack is until when the clock shows a time again that was seen before, so that
// nothing signed in it is accepted; zero: it does not.
func (c *Cache) SetBack(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ahead(now.Round(0))
}

// add remembers marks of a key that are all new.
func (c *Cache) add(key string, marks []mark, now time.Time) error {
	for _, k := range marks {
		if c.young.has(k) || c.old.has(k) {
			return ErrReplayed
		}
	}
	free := c.capacity - len(c.young.seen) - len(marks)
	if free < 0 || c.fair && c.held[key]+len(marks) > free {
		return ErrFull
	}
	if c.fair {
		c.held[key] += len(marks)
	}
	for _, k := range marks { // before the journal: if that fails, refused is the safe side
		c.young.seen[k] = struct{}{}
	}
	if c.journal == nil {
		return nil
	}
	return c.journal.append(marks, now)
}

func (g *generation) has(k mark) bool {
	_, ok := g.seen[k]
	return ok
}

// age makes the young generation the old one once it has lasted its span.
func (c *Cache) age(now time.Time) error {
	if now.Sub(c.young.start) <= c.span {
		return nil
	}
	old, young := c.young, newGeneration(now)
	if now.Sub(old.start) > 2*c.span {
		old = newGeneration(now)
	}
	if c.journal != nil {
		if err := c.journal.begin(now, c.floor); err != nil {
			return err
		}
	}
	c.old, c.young = old, young
	clear(c.held)
	return nil
}

// Damage says why the journal that was found was put aside and begun anew; nil: it was
// not. What was signed up to then is refused.
func (c *Cache) Damage() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.journal == nil {
		return nil
	}
	return c.journal.damage
}

// Len is how many signatures and nonces are held.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.young.seen) + len(c.old.seen)
}

// Close closes the journal; the Cache accepts nothing afterwards if it has one.
func (c *Cache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting != nil {
		c.elsewhere = refuse
		c.wake()
	}
	if c.journal == nil || c.elsewhere != nil {
		return nil
	}
	return c.journal.close()
}
