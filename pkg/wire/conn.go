package wire

import (
	"net"
	"syscall"
)

// Conn is a TCP connection. Closing it closes the socket.
type Conn struct {
	net.Conn // the same as tcp, without the ways past Read and Write
	tcp      *net.TCPConn
	raw      syscall.RawConn

	// Of the reader.
	feeds *Conn   // what waits for what is read here
	ahead []byte  // read and not taken
	piece *[]byte // the pooled buffer that ahead lies in; nil: none
	holds bool    // what is written waits for the reader to wait
	call  call
	marks records

	readUntil, writeUntil until

	// Of the writers.
	out outbox
}

// New wraps c, which it owns from then on.
func New(c *net.TCPConn) (*Conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &Conn{Conn: c, tcp: c, raw: raw}
	w.call.some, w.out.push = w.call.readSome, w.out.pushRest
	return w, nil
}

// TCP is the socket. Nothing may be read from it or written to it beside c.
func (c *Conn) TCP() *net.TCPConn { return c.tcp }

// CloseWrite tells the peer that nothing more will come.
func (c *Conn) CloseWrite() error { return c.tcp.CloseWrite() }

// Read returns what was read ahead, or reads from the socket.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.read(p)
	c.marks.follow(p[:n])
	return n, err
}

func (c *Conn) read(p []byte) (int, error) {
	switch {
	case len(p) == 0:
		return 0, nil
	case len(c.ahead) > 0:
		return c.takeAhead(p), nil
	case c.call.probing:
		return c.tryRead(p)
	case c.holds:
		return c.readHolding(p)
	case c.feeds == nil:
		return c.call.read(c.raw, p, c.call.some) // waits
	}
	if err := c.readAhead(); err != nil {
		return 0, err
	}
	return c.takeAhead(p), nil
}

// Feed makes c read ahead, and has what is written to another connection gathered
// until c must be waited for. It belongs to c's reader, who ends it by Starve.
func (c *Conn) Feed(to *Conn) {
	if c.holds {
		c.holds = false
		_ = c.Release() // an error shows with the next Write
	}
	c.feeds = to
	to.Gather()
}

// Starve ends what Feed began, and sends what was gathered. What was read ahead is
// still returned by Read. The error is that of a write.
func (c *Conn) Starve() error {
	to := c.feeds
	if to == nil {
		return nil
	}
	c.feeds = nil
	c.shrink()
	return to.Release()
}
