package relay

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls below never wait, so the scheduler is not told of them. It
// would take the processor from a call that sends, because that does the work of
// the receiving side too and lasts some 20 us, and give it to a thread that it
// has to wake first. And it would wake the thread that looks for such calls, each
// time that everybody had slept before.

func epollWait(epoll int, events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0 // only EINTR is possible: the set is readable still
	}
	return int(n)
}

func recv(socket int, b []byte) (int, error) {
	return count("recv", func() (uintptr, unix.Errno) {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(socket), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, 0, 0)
		return n, errno
	})
}

// send writes b. more says that something follows at once: an end counts too.
func send(socket int, b []byte, more bool) (int, error) {
	flags := unix.MSG_NOSIGNAL
	if more {
		flags |= unix.MSG_MORE
	}
	return count("send", func() (uintptr, unix.Errno) {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(socket), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(flags), 0, 0)
		return n, errno
	})
}

// splice moves at most so many bytes; more is send's.
func splice(from, to, most int, more bool) (int, error) {
	flags := unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK
	if more {
		flags |= unix.SPLICE_F_MORE
	}
	return count("splice", func() (uintptr, unix.Errno) {
		n, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(most), uintptr(flags))
		return n, errno
	})
}

// errAgain: nothing to read, or no room to write.
var errAgain error = unix.EAGAIN

// count repeats a call that a signal interrupted.
func count(name string, call func() (uintptr, unix.Errno)) (int, error) {
	for {
		n, errno := call()
		switch errno {
		case 0:
			return int(n), nil
		case unix.EAGAIN:
			return 0, errAgain
		case unix.EINTR:
		default:
			return 0, os.NewSyscallError(name, errno)
		}
	}
}

// setOption fails where the kernel does not know the option.
func setOption(socket, level, option int, value int32) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(socket), uintptr(level), uintptr(option), uintptr(unsafe.Pointer(&value)), unsafe.Sizeof(value), 0)
	return failure("setsockopt", errno)
}

func duplicate(fd uintptr) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_FCNTL, fd, unix.F_DUPFD_CLOEXEC, 0)
	return int(n), failure("fcntl", errno)
}

func closeSocket(socket int) {
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(socket), 0, 0)
}

// shutdown fails where the peer has gone meanwhile; the next read tells.
func shutdown(socket int) {
	_, _, _ = unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(socket), unix.SHUT_WR, 0)
}

func resetOnClose(socket int) {
	_ = unix.SetsockoptLinger(socket, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// keepAlive finds within minutes that a peer has vanished, and after so many seconds of
// silence that it is closed.
func keepAlive(socket, seconds int) {
	const probes = 9
	_ = unix.SetsockoptInt(socket, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds)
	_ = unix.SetsockoptInt(socket, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds)
	_ = unix.SetsockoptInt(socket, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, probes)
	_ = unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
}
