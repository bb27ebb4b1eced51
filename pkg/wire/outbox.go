package wire

import (
	"sync"

	"golang.org/x/sys/unix"
)

// outbox gathers what is written. The zero value gathers nothing.
type outbox struct {
	mu    sync.Mutex
	open  bool    // something feeds the connection
	buf   []byte  // gathered; lies in whole
	whole *[]byte // nil: nothing is gathered
	err   error   // why a part of it never left

	push  func(fd uintptr) bool // made once, so that a call does not allocate
	rest  []byte                // what push has still to send
	last  bool                  // and our end behind it
	errno unix.Errno            // why it does not
}

// Write writes p, or gathers it while something feeds the connection.
func (c *Conn) Write(p []byte) (int, error) {
	c.out.mu.Lock()
	n, err := c.put(p)
	c.out.mu.Unlock()
	return n, err
}

// put is Write with the lock held.
func (c *Conn) put(p []byte) (int, error) {
	o := &c.out
	if o.err != nil {
		return 0, o.err
	}
	if !o.open {
		return c.transmit(p)
	}
	if len(o.buf)+len(p) > pieceSize {
		if err := c.send(); err != nil {
			return 0, err
		}
	}
	if len(p) > pieceSize {
		return c.transmit(p)
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
	_, o.err = c.transmit(o.buf)
	pieces.Put(o.whole)
	o.buf, o.whole = nil, nil
	return o.err
}

// transmit writes p to the socket. The lock is held.
func (c *Conn) transmit(p []byte) (int, error) {
	o := &c.out
	o.rest, o.errno = p, 0
	err := c.raw.Write(o.push)
	if err == nil && o.errno != 0 {
		err = o.errno
	}
	n := len(p) - len(o.rest)
	o.rest = nil
	return n, err
}

// pushRest reports false where the socket has no room.
func (o *outbox) pushRest(fd uintptr) bool {
	n, errno := send(fd, o.rest, o.last)
	o.rest = o.rest[n:]
	if o.last && errno == 0 {
		errno = endWrites(fd)
	}
	o.errno = errno
	return errno != unix.EAGAIN
}

// Gather has what is written kept, for who is going to write many records, until
// Release sends it. There is room for 256 KiB; what is more is sent before.
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

// End is Release with CloseWrite behind it. The end travels in the packet of what
// was gathered last, so that the peer is not woken for it a second time. Nothing may
// be written any more.
func (c *Conn) End() error {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open = false; o.whole == nil {
		return c.tcp.CloseWrite()
	}
	o.last = true
	return c.send()
}
