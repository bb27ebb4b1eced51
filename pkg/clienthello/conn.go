package clienthello

import (
	"errors"
	"io"
	"net"
	"sync"
)

// firstRead is the size of the first peek: most ClientHellos and most request
// heads fit, and a connection that turns out to be bulk holds no more.
const firstRead = 4 << 10

// firsts are buffers of that size. Most connections need one for a moment.
var firsts = sync.Pool{New: func() any { return new([firstRead]byte) }}

// ErrPeekFull says that MaxSize bytes were peeked and nobody was content.
var ErrPeekFull = errors.New("clienthello: peek buffer full")

// Conn is a connection whose first bytes can be looked at and are then read
// again. Closing it closes the connection beneath.
type Conn struct {
	net.Conn
	buf   []byte           // peeked, not read yet; nil once drained
	first *[firstRead]byte // of the pool, what buf lies in; nil: buf has memory of its own
}

// NewConn wraps c, which it owns from then on.
func NewConn(c net.Conn) *Conn { return &Conn{Conn: c} }

// NewConnAfter is NewConn where somebody has read from c before: that was peeked
// then.
func NewConnAfter(c net.Conn, said []byte) *Conn { return &Conn{Conn: c, buf: said} }

// Fill waits for one more Read, appends it to what was peeked, and returns all
// of that. The slice is valid until the next call of Fill or Read. With an
// error the bytes that came before it are returned too.
func (c *Conn) Fill() ([]byte, error) {
	if len(c.buf) >= MaxSize {
		return c.buf, ErrPeekFull
	}
	if len(c.buf) == cap(c.buf) {
		c.grow()
	}
	n, err := c.Conn.Read(c.buf[len(c.buf):cap(c.buf)])
	c.buf = c.buf[:len(c.buf)+n]
	if n > 0 {
		// The error, if any, comes again with the next Read.
		return c.buf, nil
	}
	return c.buf, err
}

// grow makes room behind what was peeked.
func (c *Conn) grow() {
	if c.buf == nil {
		c.first = firsts.Get().(*[firstRead]byte)
		c.buf = c.first[:0]
		return
	}
	grown := make([]byte, len(c.buf), min(max(firstRead, 4*cap(c.buf)), MaxSize))
	copy(grown, c.buf)
	c.drop()
	c.buf = grown
}

// drop lets go of the memory: an idle connection holds no buffer.
func (c *Conn) drop() {
	if c.first != nil {
		firsts.Put(c.first)
	}
	c.buf, c.first = nil, nil
}

// Peeked returns what was peeked and not read yet.
func (c *Conn) Peeked() []byte { return c.buf }

// Read returns peeked bytes first, then those of the connection.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.buf) == 0 {
		c.drop()
		return c.Conn.Read(p)
	}
	n := copy(p, c.buf)
	c.discard(n)
	return n, nil
}

// discard forgets n peeked bytes, and the memory with the last of them.
func (c *Conn) discard(n int) {
	if c.buf = c.buf[n:]; len(c.buf) == 0 {
		c.drop()
	}
}

// NetConn returns the connection beneath. To read from it is only right once
// Peeked is empty.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// WriteTo writes what was peeked, then copies the connection to w until it
// ends. The copy happens in the kernel if w is, or is a Conn around, a
// *net.TCPConn or *net.UnixConn, and so is the connection beneath.
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	w = bare(w)
	var n int64
	for len(c.buf) > 0 {
		m, err := w.Write(c.buf)
		n += int64(m)
		c.discard(m)
		if err != nil {
			return n, err
		}
	}
	m, err := io.Copy(w, c.Conn)
	return n + m, err
}

// ReadFrom copies r to the connection until r ends, in the kernel if it can,
// as with WriteTo.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	if peeked, ok := r.(*Conn); ok {
		return peeked.WriteTo(c.Conn)
	}
	return io.Copy(c.Conn, r)
}

// bare unwraps a Conn: writing is not affected by what was peeked.
func bare(w io.Writer) io.Writer {
	if c, ok := w.(*Conn); ok {
		return c.Conn
	}
	return w
}

// CloseWrite tells the peer that nothing more will come; it can still send. On
// a connection that has no such half-close it closes both directions.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
