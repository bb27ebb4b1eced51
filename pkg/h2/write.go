package h2

import "time"

// wake makes sure that there is a buffer. mu is held.
func (c *Conn) wake() {
	if c.out == nil {
		c.out = (*outBuffers.get())[:0]
	}
}

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
		_, err := c.net.Write(buf)
		notes, failed := c.wrote(buf, err)
		if failed {
			return
		}
		deliver(&b, notes)
		b.Flush()
	}
}

// takeOut returns what is to be written; nil if there is nothing, and then
// another writer may begin.
func (c *Conn) takeOut() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flood.owed = 0
	if len(c.out) == 0 {
		if len(c.streams) == 0 {
			c.release()
		}
		c.stopWriting()
		return nil
	}
	buf := c.out
	c.out, c.spare = c.spare, nil
	c.wroteAt = time.Now()
	return buf
}

func (c *Conn) stopWriting() {
	c.writing = false
	c.wroteAt = time.Time{}
	c.written.Broadcast()
}

// release gives the buffers of an idle connection back. mu is held.
func (c *Conn) release() {
	for _, b := range [...][]byte{c.out, c.spare} {
		if cap(b) == outSize {
			b = b[:outSize]
			outBuffers.put(&b)
		}
	}
	c.out, c.spare = nil, nil
}

// wrote takes the buffer back and lets the streams fill the next one.
func (c *Conn) wrote(buf []byte, err error) (notes []note, failed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if c.err == nil {
			c.err = err
		}
		c.dead = true
		c.stopWriting()
		_ = c.net.Close()
		return nil, true
	}
	if cap(buf) <= 4*outSize {
		c.spare = buf[:0]
	}
	c.pump()
	return c.takeNotes(), false
}

// takeNotes returns the Room events that wait. mu is held.
func (c *Conn) takeNotes() []note {
	notes := c.notes
	c.notes = nil
	return notes
}

// deliver tells the handlers. mu is not held.
func deliver(b *Batch, notes []note) {
	for _, n := range notes {
		n.s.tell(b, &Event{Kind: Room, N: n.n, Batch: b})
	}
}
