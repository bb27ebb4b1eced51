package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/capture"
	"github.com/outwarden/outwarden/pkg/config"
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
	return "to replace it without a gap: outwarden upgrade. Else stop it first, or give this one a run_dir and a state_dir of its own"
}

// advised is an error with what to do about it.
type advised struct {
	error
	tip string
}

func (e advised) Unwrap() error { return e.error }

// Hint is for the person at the keyboard.
func (e advised) Hint() string { return e.tip }

// unlessUsed makes known what it is to find hooks in use: a daemon of another run_dir
// has them.
func unlessUsed(err error) error {
	if !errors.Is(err, capture.ErrInUse) {
		return err
	}
	return advised{
		fmt.Errorf("%w: %w", ErrRunning, err),
		"name that daemon's configuration with --config; or give this one a capture.pin_dir of its own, beside a run_dir and a state_dir",
	}
}

func lockPath(c *config.Config) string { return filepath.Join(c.RunDir, "lock") }

// Running reports whether a daemon of this configuration lives, be it coming up,
// serving or leaving.
func Running(c *config.Config) bool {
	f, err := tryLock(lockPath(c), os.O_RDWR)
	if err == nil {
		_ = f.Close()
	}
	return errors.Is(err, ErrRunning)
}

// lockFile takes the lock that ends with the process, and leaves our pid in the
// file. The caller closes it. The patience is for those who only look.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	const tries, pause = 20, 25 * time.Millisecond
	f, err := tryLock(path, os.O_RDWR|os.O_CREATE)
	for n := 1; errors.Is(err, ErrRunning) && n < tries && ctx.Err() == nil; n++ {
		time.Sleep(pause)
		f, err = tryLock(path, os.O_RDWR|os.O_CREATE)
	}
	if err != nil {
		return nil, err
	}
	if err := sign(f); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// sign leaves our pid in a lock that we hold, for whoever is kept out.
func sign(lock *os.File) error {
	if err := lock.Truncate(0); err != nil {
		return err
	}
	_, err := lock.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return err
}

func tryLock(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, how|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		pid, _ := os.ReadFile(path)
		_ = f.Close()
		return nil, &runningError{path, strings.TrimSpace(string(pid))}
	}
	return f, nil
}

// MakeRunDir makes the run directory of a configuration, or takes one that is
// ours alone: root trusts the socket and the trust stores in it. It is open to
// all, because workloads of any user read those stores.
func MakeRunDir(c *config.Config) error { return makeDir(c.RunDir, 0o755) }

// makeDir makes a directory with exactly these permissions. One that is there
// must be ours, and nobody else's to write to.
func makeDir(dir string, perm os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, perm); err == nil {
		return os.Chmod(dir, perm) // whatever the umask took away
	} else if !errors.Is(err, os.ErrExist) {
		return err
	}
	return oursAlone(dir)
}

// oursAlone is an error unless a directory is ours, and nobody else's to write to.
func oursAlone(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	const othersWrite = 0o022
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&othersWrite != 0 {
		return fmt.Errorf("%s is not a directory that we alone can write to", dir)
	}
	return nil
}
