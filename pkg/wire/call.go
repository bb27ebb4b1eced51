package wire

import (
	"errors"
	"syscall"
)

// call is what goes into and comes out of one system call of a connection's
// reader. The functions are made once, so that a call does not allocate.
type call struct {
	piece   func(fd uintptr) bool
	try     func(fd uintptr) bool
	hold    func(fd uintptr) bool
	some    func(fd uintptr) bool
	look    func(fd uintptr)
	probing bool // Read must not wait
	drained int  // bytes read by the present probe

	ready bool
	buf   []byte
	n     int
	err   error
	one   [1]byte
}

// read has f read into p when there is something.
func (k *call) read(raw syscall.RawConn, p []byte, f func(fd uintptr) bool) (int, error) {
	k.buf = p
	err := raw.Read(f)
	k.buf = nil
	if err != nil {
		return 0, err
	}
	return k.n, k.err
}

// readNow reads what there is; the runtime need not wait for more.
func (k *call) readNow(fd uintptr) bool {
	k.n, k.err = recv(fd, k.buf)
	return true
}

// readSome reports false where the socket has nothing yet.
func (k *call) readSome(fd uintptr) bool {
	k.n, k.err = recv(fd, k.buf)
	return !errors.Is(k.err, errWouldBlock)
}

// wouldBlock is a temporary net.Error, so that crypto/tls does not take it for
// the end of the connection.
type wouldBlock struct{}

var errWouldBlock error = wouldBlock{}

func (wouldBlock) Error() string   { return "nothing to read" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }
