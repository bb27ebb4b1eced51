package capture

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// TagListener makes a listener ours in the eyes of the hooks; from then on
// connects in its network namespace are redirected to it. It must be one of
// Config.Listen and must not speak MPTCP. The tag goes with the socket. The
// result is the cookie of the namespace, for [Capture.LookupIn].
func (c *Capture) TagListener(l *net.TCPListener) (netns uint64, err error) {
	rc, err := l.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = rc.Control(func(fd uintptr) { netns, failed = c.tag(int(fd), l.Addr()) })
	if err := errors.Join(err, failed); err != nil {
		return 0, fmt.Errorf("tag listener %s: %w", l.Addr(), err)
	}
	return netns, nil
}

func (c *Capture) tag(fd int, addr net.Addr) (netns uint64, err error) {
	if proto, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil || proto != unix.IPPROTO_TCP {
		return 0, fmt.Errorf("protocol %d, want plain TCP (ListenConfig.SetMultipathTCP(false))", proto)
	}
	c.tagging.Lock()
	defer c.tagging.Unlock()
	if netns, err = c.netnsCookie(fd, addr); err != nil {
		return 0, err
	}
	// Routes first: the first captured socket may ask for its name at once.
	if err := c.feedRoutes(fd, netns); err != nil {
		return 0, err
	}
	if err := c.maps.Tags.Put(uint32(fd), uint32(1)); err != nil {
		return 0, err
	}
	c.home.CompareAndSwap(0, netns)
	return netns, nil
}

// NetnsOf is the cookie of the network namespace of a socket, for LookupIn.
// Kernels before 5.14 cannot tell: the error is then unix.ENOPROTOOPT.
func NetnsOf(conn syscall.Conn) (uint64, error) {
	rc, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cookie uint64
	var failed error
	err = rc.Control(func(fd uintptr) {
		cookie, failed = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	})
	return cookie, errors.Join(err, os.NewSyscallError("getsockopt SO_NETNS_COOKIE", failed))
}

// netnsCookie is NetnsOf on every kernel.
func (c *Capture) netnsCookie(fd int, listener net.Addr) (uint64, error) {
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return c.askNetnsCookie(fd, listener)
	}
	return cookie, os.NewSyscallError("getsockopt SO_NETNS_COOKIE", err)
}

// askNetnsCookie connects a UDP socket of our own to the listener's address,
// in its namespace. Nothing is sent, but the connect hook writes the namespace down.
// c.tagging is held.
func (c *Capture) askNetnsCookie(fd int, listener net.Addr) (uint64, error) {
	ns, err := netnsOfSocket(fd)
	if err != nil {
		return 0, err
	}
	defer ns.Close()
	if err := in(ns, func() error { return c.touch(listener.String()) }); err != nil {
		return 0, err
	}
	var s outwardenState
	if err := c.maps.State.Lookup(uint32(0), &s); err != nil {
		return 0, fmt.Errorf("read the state: %v", err)
	}
	if s.OwnNetns == 0 {
		return 0, errors.New("the connect hook did not see our own connect")
	}
	return s.OwnNetns, nil
}

// touch connects a marked UDP socket made on the calling thread, and closes it.
func (c *Capture) touch(address string) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
	if to.Addr().Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(c.config.Mark)); err != nil {
		return os.NewSyscallError("mark", err)
	}
	err = unix.Connect(fd, sa)
	if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil // loopback is down, which the kernel sees after the hook
	}
	return os.NewSyscallError("connect", err)
}

// netnsOfSocket opens the network namespace of a socket. The caller closes it.
func netnsOfSocket(fd int) (netns.NsHandle, error) {
	ns, err := unix.IoctlRetInt(fd, unix.SIOCGSKNS)
	if err != nil {
		return netns.None(), os.NewSyscallError("ioctl SIOCGSKNS", err)
	}
	unix.CloseOnExec(ns)
	return netns.NsHandle(ns), nil
}
