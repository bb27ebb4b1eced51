package authority

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// folder is the open, locked directory of the authority. All names are resolved
// below its descriptor and none may be a symbolic link.
type folder struct {
	path string
	fd   int
}

// openFolder opens dir, making it and what is above it if needed. Every process
// that opens it waits for the one that has it open.
func openFolder(dir string) (*folder, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	return openPrivate(dir)
}

// openExisting opens dir if it is there; ErrNone if not.
func openExisting(dir string) (*folder, error) {
	f, err := openPrivate(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNone
	}
	return f, err
}

// openPrivate opens dir if nobody else is let in.
func openPrivate(dir string) (*folder, error) {
	f, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	if err := f.check(); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// lockFolder opens dir, whoever else can, and waits for its lock.
func lockFolder(dir string) (*folder, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, &StateError{dir, "is not a directory", "the authority needs a directory of its own; remove the link or file"}
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	f := &folder{dir, fd}
	if err := f.lock(); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// makeDir makes dir with mode 0700 whatever the umask is.
func makeDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	err := unix.Mkdir(dir, 0o700)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return unix.Fchmodat(unix.AT_FDCWD, dir, 0o700, 0)
}

func (f *folder) lock() error {
	for {
		err := unix.Flock(f.fd, unix.LOCK_EX)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return &os.PathError{Op: "lock", Path: f.path, Err: err}
		}
	}
}

func (f *folder) check() error {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: f.path, Err: err}
	}
	return checkMode(f.path, &st, 0o700)
}

func (f *folder) close() { _ = unix.Close(f.fd) }

func (f *folder) name(name string) string { return filepath.Join(f.path, name) }

// checkMode refuses what others could read, change or have put there.
func checkMode(path string, st *unix.Stat_t, want uint32) error {
	if st.Mode&0o077 != 0 {
		return &StateError{path, fmt.Sprintf("mode %04o lets others in", st.Mode&0o7777),
			fmt.Sprintf("if nobody else could have read it: chmod %04o %s; otherwise make a new authority", want, path)}
	}
	if int(st.Uid) != os.Geteuid() {
		return &StateError{path, fmt.Sprintf("belongs to uid %d, not to ours (%d)", st.Uid, os.Geteuid()),
			"run as the owner, or chown it if nobody else could have changed it"}
	}
	return nil
}

// read returns the contents of a private file; os.ErrNotExist if there is none.
func (f *folder) read(name string) ([]byte, error) {
	path := f.name(name)
	fd, err := unix.Openat(f.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, &StateError{path, "is a symbolic link", "put the file itself there"}
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &StateError{path, "is not a regular file", "put the file itself there"}
	}
	if err := checkMode(path, &st, 0o600); err != nil {
		return nil, err
	}
	const limit = 1 << 20
	return io.ReadAll(io.LimitReader(file, limit))
}

// write puts a file in place as a whole: made under a fresh name that cannot be
// there already, flushed, then renamed. Without replace an existing file is
// left alone and the error is os.ErrExist.
func (f *folder) write(name string, data []byte, replace bool) error {
	temp := "." + name + "." + rand.Text()
	if err := f.create(temp, data); err != nil {
		return fmt.Errorf("write %s: %w", f.name(name), err)
	}
	flags := uint(unix.RENAME_NOREPLACE)
	if replace {
		flags = 0
	}
	if err := unix.Renameat2(f.fd, temp, f.fd, name, flags); err != nil {
		_ = unix.Unlinkat(f.fd, temp, 0)
		return &os.PathError{Op: "rename", Path: f.name(name), Err: err}
	}
	return unix.Fsync(f.fd)
}

func (f *folder) create(name string, data []byte) error {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(f.fd, name, flags, 0o600)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), name)
	err = file.Chmod(0o600) // the umask may have taken our own bits away
	if err == nil {
		_, err = file.Write(data)
	}
	if err == nil {
		err = file.Sync()
	}
	if e := file.Close(); err == nil {
		err = e
	}
	if err != nil {
		_ = unix.Unlinkat(f.fd, name, 0)
	}
	return err
}
