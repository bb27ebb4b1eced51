package wire

import (
	"bytes"
	"sync"

	"golang.org/x/sys/unix"
)

// pieceSize is what is read ahead and gathered at most: sixteen full TLS records with
// their headers and tags.
const pieceSize = 16 * (16<<10 + 32)

// aMessage is what a burst is more than. What was read as less is sent before it is
// known whether more has come, since somebody may wait for it.
const aMessage = 4 << 10

var pieces = sync.Pool{New: func() any { b := make([]byte, pieceSize); return &b }}

// readAhead reads a piece. Before it waits, it has what was gathered sent; while it
// waits, it holds no buffer.
func (c *Conn) readAhead() error {
	k := &c.call
	if k.piece == nil {
		k.piece = c.readPiece
	}
	if k.n < aMessage {
		if err := c.feeds.Flush(); err != nil {
			return err
		}
	}
	_, err := k.run(c.raw, k.piece)
	return err
}

// readPiece reports false where the socket has nothing yet.
func (c *Conn) readPiece(fd uintptr) bool {
	k := &c.call
	b := pieces.Get().(*[]byte)
	if k.n, k.errno = recv(fd, *b); k.errno == 0 && k.n > 0 {
		c.piece, c.ahead = b, (*b)[:k.n]
		return true
	}
	pieces.Put(b)
	if k.errno != unix.EAGAIN {
		return true
	}
	k.flaw = c.feeds.Flush()
	return k.flaw != nil
}

// takeAhead moves what was read ahead, and gives the memory back with the last of it.
func (c *Conn) takeAhead(p []byte) int {
	n := copy(p, c.ahead)
	if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
		c.drop()
	}
	return n
}

func (c *Conn) drop() {
	if c.piece != nil {
		pieces.Put(c.piece)
	}
	c.ahead, c.piece = nil, nil
}

// shrink keeps what was read ahead in no more memory than it needs: nobody knows
// when it will be asked for.
func (c *Conn) shrink() {
	if c.piece == nil {
		return
	}
	rest := bytes.Clone(c.ahead)
	c.drop()
	c.ahead = rest
}
