package wire

import "sync"

// outbox gathers what is written. The zero value gathers nothing.
type outbox struct {
	mu    sync.Mutex
	open  bool    // something feeds the connection
	buf   []byte  // gathered; lies in whole
	whole *[]byte // nil: nothing is gathered
	err   error   // why a part of it never left
}

// Write writes p, or gathers it while something feeds the connection.
func (c *Conn) Write(p []byte) (int, error) {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, o.err
	}
	if !o.open {
		return c.tcp.Write(p)
	}
	if len(o.buf)+len(p) > pieceSize {
		if err := c.send(); err != nil {
			return 0, err
		}
	}
	if len(p) > pieceSize {
		return c.tcp.Write(p)
	}
	if o.whole == nil {
		o.whole = pieces.Get().(*[]byte)
		o.buf = (*o.whole)[:0]
	}
	o.buf = append(o.buf, p...)
	return len(p), nil
}

// Flush sends what was gathered.
func (c *Conn) Flush() error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.send()
}

// send writes what was gathered. The lock is held, so that nothing overtakes it.
func (c *Conn) send() error {
	o := &c.out
	if o.whole == nil || o.err != nil {
		return o.err
	}
	_, o.err = c.tcp.Write(o.buf)
	pieces.Put(o.whole)
	o.buf, o.whole = nil, nil
	return o.err
}

// Gather has what is written kept, for who is going to write many records, until
// Release sends it. There is room for 128 KiB; what is more is sent before.
func (c *Conn) Gather() {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.open = true
}

// Release sends what was gathered and gathers no more.
func (c *Conn) Release() error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.open = false
	return c.send()
}
