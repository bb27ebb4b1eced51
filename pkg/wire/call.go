package wire

import (
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// call is what goes into and comes out of one system call of a connection's
// reader. The functions are made once, so that a call does not allocate.
type call struct {
	some    func(fd uintptr) bool
	piece   func(fd uintptr) bool
	try     func(fd uintptr) bool
	hold    func(fd uintptr) bool
	look    func(fd uintptr)
	probing bool // Read must not wait
	drained int  // bytes read by the present probe

	ready bool
	buf   []byte
	n     int
	errno unix.Errno
	flaw  error // why what had to leave before a wait did not
	one   [1]byte
}

// read has f read into p when there is something.
func (k *call) read(raw syscall.RawConn, p []byte, f func(fd uintptr) bool) (int, error) {
	k.buf = p
	n, err := k.run(raw, f)
	k.buf = nil
	return n, err
}

// run makes the call, which f is.
func (k *call) run(raw syscall.RawConn, f func(fd uintptr) bool) (int, error) {
	k.flaw = nil
	if err := raw.Read(f); err != nil {
		return 0, err
	}
	switch {
	case k.flaw != nil:
		return 0, k.flaw
	case k.errno == unix.EAGAIN:
		return 0, errWouldBlock
	case k.errno != 0:
		return 0, k.errno
	case k.n == 0:
		return 0, io.EOF
	}
	return k.n, nil
}

// readNow reads what there is; the runtime need not wait for more.
func (k *call) readNow(fd uintptr) bool {
	k.n, k.errno = recv(fd, k.buf)
	return true
}

// readSome reports false where the socket has nothing yet.
func (k *call) readSome(fd uintptr) bool {
	k.n, k.errno = recv(fd, k.buf)
	return k.errno != unix.EAGAIN
}

// wouldBlock is a temporary net.Error, so that crypto/tls does not take it for
// the end of the connection.
type wouldBlock struct{}

var errWouldBlock error = wouldBlock{}

func (wouldBlock) Error() string   { return "nothing to read" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }
