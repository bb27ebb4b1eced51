package netnstest

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Alone has a package's tests run in a network namespace of their own, to be called first
// in TestMain. Packages are tested side by side, and a port that one has just closed, to
// find nobody there, may be another's by then. Without root they share the host's. It
// returns in the namespace, or an error.
func Alone() error {
	const done = "OUTWARDEN_TEST_ALONE"
	if os.Geteuid() != 0 || os.Getenv(done) != "" {
		return nil
	}
	runtime.LockOSThread() // the namespace is the thread's until it executes the tests anew
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := setUp("lo"); err != nil {
		return err
	}
	return os.NewSyscallError("execve", syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), done+"=1")))
}
