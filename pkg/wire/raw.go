package wire

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// No call here waits, so the scheduler need not know of it. Otherwise it would
// think that a write waits, which lasts some 20 us, as it does the receiver's part
// too; and it would wake a thread to go on with the processor meanwhile. The calls are
// those of package syscall: those of unix come by a stub in assembly.

// recv is one recv(2) of a non-blocking socket. There must be room in p.
func recv(fd uintptr, p []byte) (int, unix.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), 0, 0, 0)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

// send writes what the socket has room for. more: the last packet waits for what
// comes next on the socket (MSG_MORE of send(2)), which must come at once.
func send(fd uintptr, p []byte, more bool) (n int, errno unix.Errno) {
	flags := uintptr(unix.MSG_NOSIGNAL)
	if more {
		flags |= unix.MSG_MORE
	}
	for n < len(p) {
		m, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&p[n])), uintptr(len(p)-n), flags, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return n, errno
		default:
			n += int(m)
		}
	}
	return n, 0
}

// endWrites is shutdown(2) of our direction.
func endWrites(fd uintptr) unix.Errno {
	_, _, errno := syscall.RawSyscall(unix.SYS_SHUTDOWN, fd, unix.SHUT_WR, 0)
	return errno
}

// ready reports whether one of the events has come, or an end or an error.
func ready(fd uintptr, events int16) bool {
	p := unix.PollFd{Fd: int32(fd), Events: events}
	now := unix.Timespec{}
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		if errno != unix.EINTR {
			return errno != 0 || n > 0
		}
	}
}
