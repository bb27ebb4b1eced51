package wire

import (
	"io"
	"unsafe"

	"golang.org/x/sys/unix"
)

// No call here waits, so the scheduler need not know of it. Otherwise it would
// think that a write waits, which lasts some 20 us, as it does the receiver's part
// too; and it would wake a thread to go on with the processor meanwhile.

// recv is one recv(2) of a non-blocking socket.
func recv(fd uintptr, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), 0, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return 0, failed(errno)
		case n == 0:
			return 0, io.EOF
		default:
			return int(n), nil
		}
	}
}

// send writes what the socket has room for. more: the last packet waits for what
// comes next on the socket (MSG_MORE of send(2)), which must come at once.
func send(fd uintptr, p []byte, more bool) (n int, err error) {
	flags := uintptr(unix.MSG_NOSIGNAL)
	if more {
		flags |= unix.MSG_MORE
	}
	for n < len(p) {
		m, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&p[n])), uintptr(len(p)-n), flags, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return n, failed(errno)
		default:
			n += int(m)
		}
	}
	return n, nil
}

// endWrites is shutdown(2) of our direction.
func endWrites(fd uintptr) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SHUTDOWN, fd, unix.SHUT_WR, 0); errno != 0 {
		return errno
	}
	return nil
}

func failed(errno unix.Errno) error {
	if errno == unix.EAGAIN {
		return errWouldBlock
	}
	return errno
}

// ready reports whether one of the events has come, or an end or an error.
func ready(fd uintptr, events int16) bool {
	p := unix.PollFd{Fd: int32(fd), Events: events}
	now := unix.Timespec{}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		if errno != unix.EINTR {
			return errno != 0 || n > 0
		}
	}
}
