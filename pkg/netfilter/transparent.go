package netfilter

import (
	"errors"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Transparent is for net.ListenConfig.Control: it lets a listener take
// connections to addresses that are not this host's. It needs CAP_NET_ADMIN. The
// local address of an accepted connection is where the guest meant to go.
func Transparent(network, _ string, rc syscall.RawConn) error {
	level, option := unix.SOL_IP, unix.IP_TRANSPARENT
	if strings.HasSuffix(network, "6") {
		level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	var failed error
	err := rc.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, 1) })
	return errors.Join(err, os.NewSyscallError("make the listener transparent", failed))
}
