package process

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// dir is one open /proc/PID. Reads through it reach that process or fail with
// ESRCH, even after its pid belongs to another.
type dir struct{ fd int }

func openDir(proc string, pid uint32) (dir, error) {
	path := filepath.Join(proc, strconv.FormatUint(uint64(pid), 10))
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return dir{fd}, err
}

func (d dir) close() { _ = unix.Close(d.fd) }

// openPath opens a file of the process to look at alone; links are followed.
func (d dir) openPath(name string) (*os.File, error) {
	fd, err := unix.Openat(d.fd, name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// open opens a file of the process; links such as exe are followed to the file
// itself, whatever the link text says.
func (d dir) open(name string) (*os.File, error) {
	fd, err := unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// read returns at most limit bytes of a file of the process.
func (d dir) read(name string, limit int64) ([]byte, error) {
	f, err := d.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// stat follows links.
func (d dir) stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(d.fd, name, &st, 0)
	return st, err
}

// status reads /proc/PID/stat.
func (d dir) status() (stat, error) {
	const limit = 4 << 10 // 52 numbers and a name of 64 bytes at most
	b, err := d.read("stat", limit)
	if err != nil {
		return stat{}, err
	}
	return parseStat(b)
}

var errGone = errors.New("process is gone")

// openProcess opens what /proc tells of a process if pid still is the one that began
// at a time, and alive: its own directory or, where the first thread has ended before
// the others, that of another thread. The stat is the process's. The descriptor is
// the caller's to close.
func openProcess(proc string, pid uint32, same func(stat) bool) (dir, stat, error) {
	d, st, err := openLeader(proc, pid, same)
	if err != nil || !st.dead() {
		return d, st, err
	}
	defer d.close()
	thread, err := d.living()
	return thread, st, err
}

// openLeader opens /proc/PID, be the process alive or not.
func openLeader(proc string, pid uint32, same func(stat) bool) (dir, stat, error) {
	d, err := openDir(proc, pid)
	if err != nil {
		return dir{}, stat{}, err
	}
	st, err := d.status()
	if err == nil && !same(st) {
		err = errGone
	}
	if err != nil {
		d.close()
		return dir{}, stat{}, err
	}
	return d, st, nil
}

// living opens a thread that has not ended. They have the same executable,
// arguments, ids and files, unless somebody went to lengths to change that.
func (d dir) living() (dir, error) {
	tids, err := d.tids()
	for _, tid := range tids {
		fd, failed := unix.Openat(d.fd, "task/"+tid, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if failed != nil {
			err = errors.Join(err, shortage(failed))
			continue
		}
		thread := dir{fd}
		if st, failed := thread.status(); failed == nil && !st.dead() {
			return thread, nil
		} else {
			err = errors.Join(err, shortage(failed))
		}
		thread.close()
	}
	if err != nil {
		return dir{}, err
	}
	return dir{}, errGone
}

// tids lists the threads of a process. An error is a shortage.
func (d dir) tids() ([]string, error) {
	f, err := d.open("task")
	if err != nil {
		return nil, shortage(err)
	}
	defer f.Close()
	names, err := f.Readdirnames(-1) // some are as good as it gets when the process ends
	return names, shortage(err)
}
