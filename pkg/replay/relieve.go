package replay

import (
	"fmt"
	"time"
)

// One process relieves another: the one that has the journal suspends its cache and
// hands decisions over, the other prepares one and resumes with the journal.

// Prepare returns a Cache that does not have its journal yet: Accept waits until
// Resume or Close.
func Prepare(o Options) (*Cache, error) {
	c, err := newCache(&o)
	if err == nil {
		c.waiting = make(chan struct{})
	}
	return c, err
}

// Suspend lets go of the journal, so that another process can go on with it.
// Accept waits until Resume, HandTo or Close.
func (c *Cache) Suspend() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = make(chan struct{})
	if c.journal == nil {
		return nil
	}
	return c.journal.close()
}

// Resume goes on with what the journal holds now. If that fails, nothing is
// accepted.
func (c *Cache) Resume() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.open(time.Now().Round(0))
	if err != nil {
		c.elsewhere = refuse
	}
	c.wake()
	return err
}

// HandTo has another process decide from now on.
func (c *Cache) HandTo(accept func(m Message, at, now time.Time) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.elsewhere = accept
	c.wake()
}

func (c *Cache) wake() {
	if c.waiting != nil {
		close(c.waiting)
		c.waiting = nil
	}
}

// await returns once it is known who decides; c.mu is held before and after.
func (c *Cache) await() {
	for c.waiting != nil {
		w := c.waiting
		c.mu.Unlock()
		<-w
		c.mu.Lock()
	}
}

func refuse(Message, time.Time, time.Time) error { return fmt.Errorf("%w: it is not ours", ErrJournal) }
