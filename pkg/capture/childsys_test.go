package capture

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// connectRaw is connect with an address that unix.Connect has no type for.
func connectRaw(fd int, sa *unix.RawSockaddr) error {
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(sa)), unsafe.Sizeof(*sa))
	if errno != 0 {
		return errno
	}
	return nil
}

// dropCapabilities gives up all capabilities of the calling thread, so the
// caller must stay on it; the main goroutine of the child does.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return unix.Capset(&header, &none[0])
}
