package relay

import (
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Door accepts the connections of a listener as sockets that are ours alone. The
// listener stays its owner's.
type Door struct {
	l     syscall.RawConn
	at    netip.AddrPort // where all its connections come in; zero: each tells
	older bool           // the next one may have been there before Open
	loop  *loop
	id    uint32
	ready chan struct{}
}

// Accepted is a connection at its beginning. Socket does not wait, and sends what
// is written at once.
type Accepted struct {
	Socket        int
	Local, Remote netip.AddrPort
}

// Open has a loop watch a listener. Its connections are accepted until none is
// left, and then when Ready has said so, by one goroutine.
func (r *Relay) Open(l *net.TCPListener) (*Door, error) {
	r.begin.Do(func() { r.err = r.start() })
	if r.err != nil {
		return nil, r.err
	}
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	d := &Door{l: raw, loop: &r.loops[int(r.next.Add(1))%len(r.loops)], ready: make(chan struct{}, 1), older: true}
	if err := d.ask(); err != nil {
		return nil, err
	}
	if err := d.watch(unix.EPOLL_CTL_ADD); err != nil {
		d.loop.admit(d, false)
		return nil, err
	}
	return d, nil
}

// ask finds out what a listener's connections have in common, and has them inherit
// that they send what is written at once.
func (d *Door) ask() (err error) {
	failed := d.l.Control(func(fd uintptr) {
		err = setOption(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		if at, errno := localAddr(fd); errno == 0 && !at.Addr().IsUnspecified() && !transparent(int(fd)) {
			d.at = at
		}
	})
	if failed != nil {
		return net.ErrClosed
	}
	return err
}

// transparent reports whether a listener takes connections to addresses of others.
func transparent(listener int) bool {
	four, err := unix.GetsockoptInt(listener, unix.SOL_IP, unix.IP_TRANSPARENT)
	if err != nil || four != 0 {
		return true
	}
	six, err := unix.GetsockoptInt(listener, unix.SOL_IPV6, unix.IPV6_TRANSPARENT)
	return err == nil && six != 0 // an error: it is none of IPv6
}

// Ready says that there may be a connection to accept.
func (d *Door) Ready() <-chan struct{} { return d.ready }

// Accept takes a connection; false where there is none yet, or an error, which is
// net.ErrClosed once the listener is closed.
func (d *Door) Accept() (a Accepted, ok bool, err error) {
	for {
		var errno unix.Errno
		if d.l.Control(func(fd uintptr) { a, errno = accept(fd, d.at) }) != nil {
			return a, false, net.ErrClosed
		}
		switch errno {
		case 0:
			if d.older {
				_ = setOption(a.Socket, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
			}
			return a, true, nil
		case unix.EAGAIN:
			d.older = false
			return a, false, nil
		case unix.EINTR, unix.ECONNABORTED: // others may wait, and Ready says nothing of them again
			continue
		}
		return a, false, failure("accept4", errno)
	}
}

// Close ends the watching.
func (d *Door) Close() {
	_ = d.watch(unix.EPOLL_CTL_DEL) // a listener that was closed is watched no more
}

// watch begins or ends the watching.
func (d *Door) watch(op int) (err error) {
	d.loop.admit(d, op == unix.EPOLL_CTL_ADD)
	failed := d.l.Control(func(fd uintptr) {
		e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(d.id), Pad: front}
		err = unix.EpollCtl(d.loop.epoll, op, int(fd), &e)
	})
	if failed != nil {
		return net.ErrClosed
	}
	return err
}

// knock wakes who accepts.
func (d *Door) knock() {
	select {
	case d.ready <- struct{}{}:
	default:
	}
}

// accept is accept4(2) and what is to be known of a connection.
func accept(listener uintptr, at netip.AddrPort) (a Accepted, _ unix.Errno) {
	var peer unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, listener, uintptr(unsafe.Pointer(&peer)), uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno == 0 && !at.IsValid() {
		if at, errno = localAddr(n); errno != 0 {
			closeSocket(int(n))
		}
	}
	return Accepted{int(n), at, addrPort(&peer)}, errno
}

func localAddr(socket uintptr) (netip.AddrPort, unix.Errno) {
	var own unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	_, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, socket, uintptr(unsafe.Pointer(&own)), uintptr(unsafe.Pointer(&size)))
	return addrPort(&own), errno
}

// addrPort is sockaddr the other way.
func addrPort(any *unix.RawSockaddrAny) netip.AddrPort {
	if any.Addr.Family == unix.AF_INET {
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(any))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), in.Port<<8|in.Port>>8)
	}
	in := (*unix.RawSockaddrInet6)(unsafe.Pointer(any))
	return netip.AddrPortFrom(netip.AddrFrom16(in.Addr).Unmap(), in.Port<<8|in.Port>>8)
}
