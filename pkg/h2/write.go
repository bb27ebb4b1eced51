package h2

import (
	"errors"
	"time"
)

// flush has what is in the buffer written. It does not wait: a goroutine writes,
// and goes when there is nothing left. What is added meanwhile goes with its next
// write.
func (c *Conn) flush() {
	c.mu.Lock()
	start := len(c.out) > 0 && !c.writing
	if start {
		c.writing = true
	}
	c.mu.Unlock()
	if start {
		go c.write()
	}
}

func (c *Conn) write() {
	var b Batch
	for {
		buf := c.takeOut()
		if buf == nil {
			return
		}
		err := c.send(buf)
		notes, failed := c.wrote(buf, err)
		if failed {
			c.fail()
			return
		}
		deliver(&b, notes)
		b.Flush()
	}
}

// send writes buf, which may be several records, with one system call.
func (c *Conn) send(buf []byte) error {
	if c.o.Beneath == nil || len(buf) <= oneRecord {
		_, err := c.net.Write(buf)
		return err
	}
	c.o.Beneath.Gather()
	_, err := c.net.Write(buf)
	return errors.Join(err, c.o.Beneath.Release())
}

// takeOut returns what is to be written; nil if there is nothing, and then
// another writer may begin.
func (c *Conn) takeOut() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flood.owed = 0
	if len(c.out) == 0 {
		c.stopWriting()
		return nil
	}
	buf := c.out
	c.out = nil
	c.wroteAt = time.Now()
	return buf
}

func (c *Conn) stopWriting() {
	c.writing = false
	c.wroteAt = time.Time{}
	c.written.Broadcast()
}

// wrote takes the buffer back and lets the streams fill the next one.
func (c *Conn) wrote(buf []byte, err error) (notes []note, failed bool) {
	recycle(buf)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if c.err == nil {
			c.err = err
		}
		c.dead = true
		return nil, true
	}
	c.pump()
	return c.takeNotes(), false
}

// fail closes a connection that can't be written to. TLS may wait five seconds for
// room for its alert, so mu is not held: the readers of other connections ask for it.
func (c *Conn) fail() {
	_ = c.net.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopWriting()
}

// takeNotes returns the Room events that wait. mu is held.
func (c *Conn) takeNotes() []note {
	notes := c.notes
	c.notes = nil
	return notes
}

// deliver tells the handlers. mu is not held.
func deliver(b *Batch, notes []note) {
	if len(notes) == 0 {
		return
	}
	var e Event
	for _, n := range notes {
		e = Event{Kind: Room, N: n.n, Batch: b}
		n.s.tell(b, &e)
	}
}
