package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// bpffs is where the kernel expects its BPF file system.
const bpffs = "/sys/fs/bpf"

// buildSuffix names the directory in which pinned state is built. A bpffs allows no dot in a name.
const buildSuffix = "-new"

// lockParent makes sure that the directory above dir is on a bpffs and locks
// it: one process at a time makes, takes over or removes pinned state there.
// Closing the file unlocks.
func lockParent(dir string) (*os.File, error) {
	parent := filepath.Dir(dir)
	if err := mountBPF(parent); err != nil {
		return nil, err
	}
	f, err := os.Open(parent)
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// mountBPF mounts the BPF file system at its usual place if dir is there and nothing is mounted yet.
func mountBPF(dir string) error {
	if isBPF(dir) {
		return nil
	}
	if dir != bpffs && !strings.HasPrefix(dir, bpffs+"/") {
		return fmt.Errorf("%s is not on a bpffs", dir)
	}
	f, err := os.Open(bpffs)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := flock(f, unix.LOCK_EX); err != nil { // two mounts would hide one another's pins
		return err
	}
	if !isBPF(bpffs) {
		if err := unix.Mount("bpf", bpffs, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=700"); err != nil {
			return fmt.Errorf("mount bpffs at %s: %v", bpffs, err)
		}
	}
	return os.MkdirAll(dir, 0o700)
}

func isBPF(path string) bool {
	var s unix.Statfs_t
	return unix.Statfs(path, &s) == nil && s.Type == unix.BPF_FS_MAGIC
}

// lockDir takes the lock that a process holds as long as it uses the state in dir.
func lockDir(dir string) (*os.File, error) {
	f, err := openPins(dir)
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
		}
		return nil, err
	}
	return f, nil
}

// checkOwner refuses pinned state that somebody else made or may change: a bpffs
// may be everybody's to write to, and what is pinned decides what is captured.
func checkOwner(dir *os.File) error {
	var s unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &s); err != nil {
		return os.NewSyscallError("fstat "+dir.Name(), err)
	}
	const others = 0o022
	if int(s.Uid) != os.Geteuid() || s.Mode&others != 0 {
		return fmt.Errorf("%s: %w (uid %d, mode %o); outwarden detach removes it", dir.Name(), ErrForeign, s.Uid, s.Mode&0o777)
	}
	return nil
}

func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			return os.NewSyscallError("flock "+f.Name(), err)
		}
	}
}

// pins lists what is pinned in dir.
func pins(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// ownPins is pins where no link may lead there.
func ownPins(dir string) ([]string, error) {
	d, err := openPins(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}
