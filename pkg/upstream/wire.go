package upstream

import (
	"errors"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxDrain bounds what one probe reads of post-handshake messages.
const maxDrain = 64 << 10

const recordHeader = 5 // RFC 8446 section 5.1

// wire is the TCP connection under TLS. It can be asked, without waiting,
// whether something is readable, and it follows record boundaries, so that it is
// known whether crypto/tls may still hold bytes that nobody asked for.
//
// crypto/tls calls Read only when it holds no complete record. So after a Read
// that ended exactly one record, on the boundary, nothing can be left in it.
type wire struct {
	*net.TCPConn

	slack  bool // the last Read may have left bytes inside crypto/tls
	header [recordHeader]byte
	have   int // bytes of header seen
	body   int // bytes of the current record still to come

	raw     syscall.RawConn
	probing bool // Read must not wait
	drained int  // bytes read by the present probe
	probe   probe
	look    func(fd uintptr)      // made once, so that a probe does not allocate
	grab    func(fd uintptr) bool // likewise
}

// probe is what goes into and comes out of one system call of a wire's owner.
type probe struct {
	poll  [1]unix.PollFd
	ready bool
	buf   []byte
	n     int
	err   error
	one   [1]byte
}

func newWire(c *net.TCPConn) (*wire, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &wire{TCPConn: c, raw: raw}
	w.look, w.grab = w.probe.pollin, w.probe.read
	return w, nil
}

// Read reads from the socket; during a probe it does not wait.
func (w *wire) Read(p []byte) (int, error) {
	if !w.probing {
		n, err := w.TCPConn.Read(p)
		w.follow(p[:n])
		return n, err
	}
	if w.drained > maxDrain {
		return 0, io.ErrShortBuffer
	}
	n, err := w.tryRead(p)
	w.drained += n
	w.follow(p[:n])
	return n, err
}

// follow advances over b, which crypto/tls is about to get.
func (w *wire) follow(b []byte) {
	ends := 0
	for len(b) > 0 {
		if w.body > 0 {
			n := min(w.body, len(b))
			w.body -= n
			b = b[n:]
		} else {
			n := copy(w.header[w.have:], b)
			w.have += n
			b = b[n:]
			if w.have < recordHeader {
				break
			}
			w.have = 0
			w.body = int(w.header[3])<<8 | int(w.header[4])
		}
		if w.body == 0 {
			ends++
		}
	}
	w.slack = ends > 1 || w.body > 0 || w.have > 0
}

// silent reports whether the connection is open and nothing is readable.
func (w *wire) silent() bool {
	w.probe.ready = true
	err := w.raw.Control(w.look)
	return err == nil && !w.probe.ready
}

// pollin is a poll(2) that does not wait; an end of the stream or an error counts
// as readable.
func (p *probe) pollin(fd uintptr) {
	p.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}
	n, err := unix.Poll(p.poll[:], 0)
	p.ready = n != 0 || err != nil
}

// hungUp reports whether the peer has closed, however much is still readable. It
// does not touch the probe's state, so it may run beside the owner.
func (w *wire) hungUp() bool {
	gone := true
	_ = w.raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n > 0
	})
	return gone
}

// drain lets TLS read what has come without waiting, and reports whether the
// connection is open and none of it was application data.
func (w *wire) drain(c net.Conn) bool {
	w.probing, w.drained = true, 0
	n, err := c.Read(w.probe.one[:])
	w.probing = false
	return n == 0 && errors.Is(err, errWouldBlock)
}

func (w *wire) tryRead(p []byte) (int, error) {
	w.probe.buf = p
	err := w.raw.Read(w.grab)
	w.probe.buf = nil
	if err != nil {
		return 0, err
	}
	return w.probe.n, w.probe.err
}

// read is one read(2); the socket is non-blocking, and the runtime need not wait
// for it.
func (p *probe) read(fd uintptr) bool {
	n, err := unix.Read(int(fd), p.buf)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		p.n, p.err = 0, errWouldBlock
	case err != nil:
		p.n, p.err = 0, err
	case n == 0:
		p.n, p.err = 0, io.EOF
	default:
		p.n, p.err = n, nil
	}
	return true
}

// wouldBlock is a temporary net.Error, so that crypto/tls does not take it for
// the end of the connection.
type wouldBlock struct{}

var errWouldBlock error = wouldBlock{}

func (wouldBlock) Error() string   { return "nothing to read" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }
