package wire

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxDrain bounds what one probe reads of post-handshake messages.
const maxDrain = 64 << 10

// Silent reports whether the connection is open and nothing is readable.
func (c *Conn) Silent() bool {
	if len(c.ahead) > 0 {
		return false
	}
	k := &c.call
	if k.look == nil {
		k.look = k.peek
	}
	k.ready = true
	err := c.raw.Control(k.look)
	return err == nil && !k.ready
}

// peek looks for a first byte; an end of the stream or an error counts as readable.
// It never waits, so the scheduler is not told of it.
func (k *call) peek(fd uintptr) {
	for {
		_, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&k.one[0])), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
		if errno != unix.EINTR {
			k.ready = errno != unix.EAGAIN
			return
		}
	}
}

// Await waits until something is readable, an end or an error included, in little
// stack and no buffer.
func (c *Conn) Await() error {
	k := &c.call
	return c.raw.Read(func(fd uintptr) bool {
		k.peek(fd)
		return k.ready
	})
}

// HungUp reports whether the peer has closed, however much is still readable. It
// does not touch the reader's state, so it may be called beside it.
func (c *Conn) HungUp() bool {
	gone := true
	_ = c.raw.Control(func(fd uintptr) {
		gone = ready(fd, unix.POLLRDHUP)
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
	_ = c.SetReadDeadline(time.Time{}) // of the last exchange
	k := &c.call
	k.probing, k.drained = true, 0
	n, err := tls.Read(k.one[:])
	k.probing = false
	return n == 0 && errors.Is(err, errWouldBlock)
}

// Broken reports whether the peer has reset the connection. It may be called as HungUp may.
func (c *Conn) Broken() bool {
	broken := true
	_ = c.raw.Control(func(fd uintptr) {
		broken = ready(fd, 0)
	})
	return broken
}

// Taken is how many bytes the peer has acknowledged, and whether those are all that
// were sent. It may be called as HungUp may.
func (c *Conn) Taken() (n uint64, all bool) {
	_ = c.raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n, all = info.Bytes_acked, info.Unacked == 0 && info.Notsent_bytes == 0
		}
	})
	return n, all
}

func (c *Conn) tryRead(p []byte) (int, error) {
	k := &c.call
	if k.drained > maxDrain {
		return 0, io.ErrShortBuffer
	}
	if k.try == nil {
		k.try = k.readNow
	}
	n, err := k.read(c.raw, p, k.try)
	k.drained += n
	return n, err
}
