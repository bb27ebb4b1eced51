package wire

import (
	"errors"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// maxDrain bounds what one probe reads of post-handshake messages.
const maxDrain = 64 << 10

// Silent reports whether the connection is open and nothing is readable.
func (c *Conn) Silent() bool {
	if len(c.ahead) > 0 {
		return false
	}
	g := &c.grab
	if g.look == nil {
		g.look = g.pollin
	}
	g.ready = true
	err := c.raw.Control(g.look)
	return err == nil && !g.ready
}

// pollin is a poll(2) that does not wait; an end of the stream or an error counts
// as readable.
func (g *call) pollin(fd uintptr) {
	g.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}
	n, err := unix.Poll(g.poll[:], 0)
	g.ready = n != 0 || err != nil
}

// HungUp reports whether the peer has closed, however much is still readable. It
// does not touch the reader's state, so it may be called beside it.
func (c *Conn) HungUp() bool {
	gone := true
	_ = c.raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n > 0
	})
	return gone
}

// SilentUnder is Silent for the TLS connection on top of c: it lets TLS read what
// has come, without waiting, and reports whether the connection is open and none
// of it was application data. full says that the last Read of tls filled its
// buffer, so that decrypted bytes may be left in it.
func (c *Conn) SilentUnder(tls net.Conn, full bool) bool {
	if !full && !c.marks.slack && c.Silent() {
		return true
	}
	g := &c.grab
	g.probing, g.drained = true, 0
	n, err := tls.Read(g.one[:])
	g.probing = false
	return n == 0 && errors.Is(err, errWouldBlock)
}

func (c *Conn) tryRead(p []byte) (int, error) {
	g := &c.grab
	if g.drained > maxDrain {
		return 0, io.ErrShortBuffer
	}
	if g.try == nil {
		g.try = g.readNow
	}
	g.buf = p
	err := c.raw.Read(g.try)
	g.buf = nil
	if err != nil {
		return 0, err
	}
	g.drained += g.n
	return g.n, g.err
}

// readNow reads what there is; the runtime need not wait for more.
func (g *call) readNow(fd uintptr) bool {
	g.n, g.err = readOnce(fd, g.buf)
	return true
}
