package wire

import (
	"bytes"
	"net"
	"sync"
	"syscall"
)

// Conn is a TCP connection. Closing it closes the socket.
type Conn struct {
	*net.TCPConn
	raw syscall.RawConn

	// Of the reader.
	ahead []byte  // read and not taken
	whole *[]byte // the pooled buffer that ahead lies in; nil: none
	feeds *Conn   // what waits for what is read here
	grab  call
	marks records

	// Of the writers.
	out outbox
}

// New wraps c, which it owns from then on.
func New(c *net.TCPConn) (*Conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &Conn{TCPConn: c, raw: raw}, nil
}

// pieceSize is what is read ahead and gathered at most: eight full TLS records
// with their headers and tags, and some.
const pieceSize = 8*(16<<10+32) + 4<<10

var pieces = sync.Pool{New: func() any { b := make([]byte, pieceSize); return &b }}

// Read returns what was read ahead, or reads from the socket.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.read(p)
	c.marks.follow(p[:n])
	return n, err
}

func (c *Conn) read(p []byte) (int, error) {
	switch {
	case len(c.ahead) > 0:
		return c.takeAhead(p), nil
	case c.grab.probing:
		return c.tryRead(p)
	case c.feeds == nil || len(p) == 0:
		return c.TCPConn.Read(p)
	}
	if err := c.feeds.Flush(); err != nil {
		return 0, err
	}
	if err := c.readAhead(); err != nil {
		return 0, err
	}
	return c.takeAhead(p), nil
}

// takeAhead moves what was read ahead, and gives the buffer back with the last of it.
func (c *Conn) takeAhead(p []byte) int {
	n := copy(p, c.ahead)
	if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
		c.drop()
	}
	return n
}

// Feed makes c read ahead, and to gather what is written to it until c has
// nothing left. It belongs to c's reader, who ends it by Starve.
func (c *Conn) Feed(to *Conn) {
	c.feeds = to
	to.gather()
}

// Starve ends what Feed began, and sends what was gathered. What was read ahead
// is still returned by Read. The error is that of a write.
func (c *Conn) Starve() error {
	to := c.feeds
	if to == nil {
		return nil
	}
	c.feeds = nil
	c.shrink()
	return to.release()
}

// drop gives the memory of what was read ahead back.
func (c *Conn) drop() {
	if c.whole != nil {
		pieces.Put(c.whole)
	}
	c.ahead, c.whole = nil, nil
}

// shrink keeps what was read ahead in no more memory than it needs: nobody knows
// when it will be asked for.
func (c *Conn) shrink() {
	if c.whole == nil {
		return
	}
	rest := bytes.Clone(c.ahead)
	c.drop()
	c.ahead = rest
}
