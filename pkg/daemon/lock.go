package daemon

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrRunning is returned where another daemon holds the run directory.
var ErrRunning = errors.New("another daemon is running")

// runningError says who holds the lock.
type runningError struct{ path, pid string }

func (e *runningError) Error() string {
	return fmt.Sprintf("%v (pid %s holds %s)", ErrRunning, e.pid, e.path)
}
func (e *runningError) Unwrap() error { return ErrRunning }

// Hint is for the person at the keyboard.
func (e *runningError) Hint() string {
	return "stop it first, or give this one a run_dir and a state_dir of its own"
}

// lockFile takes an exclusive lock that ends with the process, and leaves our
// pid in the file. The caller closes it.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		pid, _ := os.ReadFile(path)
		_ = f.Close()
		return nil, &runningError{path, strings.TrimSpace(string(pid))}
	}
	if err := f.Truncate(0); err != nil {
		_ = f.Close()
		return nil, err
	}
	_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	return f, err
}
