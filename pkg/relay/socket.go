package relay

import (
	"cmp"
	"context"
	"io"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reset closes the socket of an end that is not carried after all; its peer
// sees an error.
func (e End) Reset() {
	resetOnClose(e.Socket)
	closeSocket(e.Socket)
}

// Owner holds a socket: a connection or a file.
type Owner interface {
	syscall.Conn
	io.Closer
}

// Take takes the socket out of its owner, which is closed and of no use any
// more. What the owner has read before is not in the socket.
func Take(o Owner) (socket int, err error) {
	defer o.Close()
	rc, err := o.SyscallConn()
	if err != nil {
		return -1, err
	}
	var failed error
	err = rc.Control(func(fd uintptr) { socket, failed = duplicate(fd) })
	if err := cmp.Or(err, failed); err != nil {
		return -1, err
	}
	return socket, nil
}

// Dial begins to connect to an address, from another unless that is zero, and
// does not wait for it. speaks: something will be written as soon as that is
// possible. mark, if not nil, readies the socket before. It is plain TCP, never
// MPTCP. An egress address that this host does not have is unix.EADDRNOTAVAIL.
func Dial(from netip.Addr, to netip.AddrPort, speaks bool, mark func(socket int) error) (socket int, err error) {
	family, peer, size := sockaddr(to)
	socket, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	_ = setOption(socket, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // what we pass on was one message
	if speaks {
		holdAck(socket)
	}
	if mark != nil {
		err = mark(socket)
	}
	if err == nil && from.IsValid() {
		err = bind(socket, family, from)
	}
	if err == nil {
		err = connect(socket, peer, size)
	}
	if err != nil {
		closeSocket(socket)
		return -1, err
	}
	return socket, nil
}

// Connected waits until the socket of Dial is connected, and makes it a file that
// has deadlines. It closes the socket where it returns an error, which is
// os.ErrDeadlineExceeded when ctx ended.
func Connected(ctx context.Context, socket int) (*os.File, error) {
	f := os.NewFile(uintptr(socket), "tcp")
	stop := context.AfterFunc(ctx, func() { _ = f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	rc, err := f.SyscallConn()
	if err == nil {
		var failed error
		err = rc.Write(func(uintptr) (done bool) { done, failed = connected(socket); return done })
		err = cmp.Or(err, failed)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// holdAck has the last step of the handshake leave with the first bytes, in one
// packet for two. It waits 200 ms for them at most. That is what the option does on
// a socket that connects (tcp_rcv_synsent_state_process of Linux).
func holdAck(socket int) {
	const seconds = 1
	_ = setOption(socket, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, seconds)
}

// connected reports whether connect(2) is done, and how it went.
func connected(socket int) (done bool, err error) {
	if _, err := unix.Getpeername(socket); err == nil {
		return true, nil
	}
	err = socketError(socket)
	return err != nil, err
}

func socketError(socket int) error {
	var errno int32
	size := uint32(unsafe.Sizeof(errno))
	_, _, failed := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(socket), unix.SOL_SOCKET, unix.SO_ERROR, uintptr(unsafe.Pointer(&errno)), uintptr(unsafe.Pointer(&size)), 0)
	return failure("connect", cmp.Or(failed, unix.Errno(errno)))
}

// bind takes the address alone, so that connections to different peers may share
// a port (ip(7); IPv6 sockets take the option too).
func bind(socket, family int, from netip.Addr) error {
	own, local, size := sockaddr(netip.AddrPortFrom(from, 0))
	if own != family {
		return os.NewSyscallError("bind", unix.EADDRNOTAVAIL)
	}
	_ = setOption(socket, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	_, _, errno := unix.RawSyscall(unix.SYS_BIND, uintptr(socket), uintptr(unsafe.Pointer(local)), size)
	return failure("bind", errno)
}

func connect(socket int, peer *unix.RawSockaddrAny, size uintptr) error {
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(socket), uintptr(unsafe.Pointer(peer)), size)
	if errno == unix.EINPROGRESS || errno == unix.EINTR {
		return nil
	}
	return failure("connect", errno)
}

func failure(call string, errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return os.NewSyscallError(call, errno)
}

// sockaddr is a as the kernel wants it, and how much of that is used.
func sockaddr(a netip.AddrPort) (family int, _ *unix.RawSockaddrAny, size uintptr) {
	var any unix.RawSockaddrAny
	ip, port := a.Addr().Unmap(), a.Port()<<8|a.Port()>>8
	if ip.Is4() {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(&any)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: ip.As4()}
		return unix.AF_INET, &any, unix.SizeofSockaddrInet4
	}
	*(*unix.RawSockaddrInet6)(unsafe.Pointer(&any)) = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: ip.As16()}
	return unix.AF_INET6, &any, unix.SizeofSockaddrInet6
}
