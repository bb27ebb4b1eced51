package wire

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// call is what goes into and comes out of one system call of a connection's
// reader. The functions are made once, so that a call does not allocate.
type call struct {
	piece   func(fd uintptr) bool
	try     func(fd uintptr) bool
	look    func(fd uintptr)
	probing bool // Read must not wait
	drained int  // bytes read by the present probe

	poll  [1]unix.PollFd
	ready bool
	buf   []byte
	n     int
	err   error
	one   [1]byte
}

// readAhead waits for the socket and reads a piece. The buffer is taken when
// there is something to put into it.
func (c *Conn) readAhead() error {
	if c.grab.piece == nil {
		c.grab.piece = c.readPiece
	}
	if err := c.raw.Read(c.grab.piece); err != nil {
		return err
	}
	if c.grab.n == 0 {
		return c.grab.err
	}
	return nil
}

// readPiece reports false where the socket has nothing yet.
func (c *Conn) readPiece(fd uintptr) bool {
	g := &c.grab
	b := pieces.Get().(*[]byte)
	g.n, g.err = readOnce(fd, *b)
	if g.n == 0 {
		pieces.Put(b)
		return !errors.Is(g.err, errWouldBlock)
	}
	c.whole, c.ahead = b, (*b)[:g.n]
	return true
}

// readOnce is one read(2) of a non-blocking socket.
func readOnce(fd uintptr, p []byte) (int, error) {
	for {
		n, err := unix.Read(int(fd), p)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return 0, errWouldBlock
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// wouldBlock is a temporary net.Error, so that crypto/tls does not take it for
// the end of the connection.
type wouldBlock struct{}

var errWouldBlock error = wouldBlock{}

func (wouldBlock) Error() string   { return "nothing to read" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }
