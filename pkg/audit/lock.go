package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const lockName = "lock"

// The lock is one of the open file description: it goes with the process, however
// that ends, and asking for it does not take it.

// takeLock makes us the one writer. The error wraps ErrLocked and names the other.
func takeLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, err
	}
	lk := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lk); err != nil {
		defer f.Close()
		if err == unix.EAGAIN || err == unix.EACCES {
			return nil, fmt.Errorf("audit trail %s: %w (pid %s)", dir, ErrLocked, lockHolder(f))
		}
		return nil, fmt.Errorf("lock audit trail %s: %w", dir, err)
	}
	if err := sign(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sign leaves our pid in the lock, in the block that the file has.
func sign(lock *os.File) error {
	pid := strconv.AppendInt(nil, int64(os.Getpid()), 10)
	if _, err := lock.WriteAt(pid, 0); err != nil {
		return err
	}
	return lock.Truncate(int64(len(pid)))
}

func lockHolder(f *os.File) string {
	var b [16]byte
	n, _ := f.ReadAt(b[:], 0)
	if pid := strings.TrimSpace(string(b[:n])); pid != "" {
		return Printable(pid)
	}
	return "unknown"
}

// beingWritten reports whether a writer lives.
func beingWritten(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return false
	}
	defer f.Close()
	lk := unix.Flock_t{Type: unix.F_RDLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lk); err != nil {
		return false
	}
	return lk.Type != unix.F_UNLCK
}
