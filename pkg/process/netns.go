package process

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Netns names a network namespace by device and inode of its file. The name is
// given to another once nothing keeps the namespace alive.
type Netns struct{ Dev, Inode uint64 }

// NetnsOf names the network namespace that an open file stands for.
func NetnsOf(f *os.File) (Netns, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return Netns{}, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return Netns{st.Dev, st.Ino}, nil
}

// Netns names the network namespace of a process.
func (r *Resolver) Netns(pid uint32) (Netns, error) {
	return netnsAt(filepath.Join(r.proc, strconv.FormatUint(uint64(pid), 10), "ns/net"))
}

func netnsAt(path string) (Netns, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Netns{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return Netns{st.Dev, st.Ino}, nil
}

// OpenNetns opens the network namespaces that threads of a process are in, each
// once and without those for which skip is true. The process is the one that
// began at start. The caller closes the files.
func (r *Resolver) OpenNetns(pid uint32, start time.Duration, skip func(Netns) bool) ([]*os.File, error) {
	d, _, err := openProcess(r.proc, pid, func(s stat) bool { return s.startedAt(start) })
	if err != nil {
		return nil, err
	}
	defer d.close()
	var files []*os.File
	seen := map[Netns]bool{}
	for _, name := range d.threads() {
		f, err := d.open(name)
		if err != nil {
			continue // the thread has ended
		}
		ns, err := NetnsOf(f)
		if err != nil || seen[ns] || skip(ns) {
			_ = f.Close()
			continue
		}
		seen[ns] = true
		files = append(files, f)
	}
	return files, nil
}

// threads lists the files of the network namespaces of a process's threads.
func (d dir) threads() []string {
	f, err := d.open("task")
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1) // some are as good as it gets when the process ends
	for i, tid := range names {
		names[i] = "task/" + tid + "/ns/net"
	}
	return names
}

// Inhabitants calls f for every other process and every network namespace that
// a thread of it is in, until f returns false. Threads of our own are in other
// namespaces on errands only.
func (r *Resolver) Inhabitants(f func(pid uint32, ns Netns) bool) error {
	all, err := os.Open(r.proc)
	if err != nil {
		return err
	}
	defer all.Close()
	names, err := all.Readdirnames(-1)
	if err != nil {
		return err
	}
	self := os.Getpid()
	for _, name := range names {
		pid, err := strconv.ParseUint(name, 10, 32)
		if err != nil || int(pid) == self {
			continue
		}
		for _, ns := range r.inhabits(uint32(pid)) {
			if !f(uint32(pid), ns) {
				return nil
			}
		}
	}
	return nil
}

// inhabits lists the network namespaces of a process's threads, each once.
func (r *Resolver) inhabits(pid uint32) (found []Netns) {
	d, err := openDir(r.proc, pid)
	if err != nil {
		return nil
	}
	defer d.close()
	seen := map[Netns]bool{}
	for _, name := range d.threads() {
		st, err := d.stat(name)
		if ns := (Netns{st.Dev, st.Ino}); err == nil && !seen[ns] {
			seen[ns] = true
			found = append(found, ns)
		}
	}
	return found
}

// ErrUninhabited says that no process is in a network namespace.
var ErrUninhabited = errors.New("no process is in the network namespace")

// Inhabitant opens one of the processes in a network namespace as a pidfd,
// which the runtime can wait for. The caller closes it.
func (r *Resolver) Inhabitant(ns Netns) (*os.File, error) {
	var found *os.File
	err := r.Inhabitants(func(pid uint32, in Netns) bool {
		if in == ns {
			found = r.openInhabitant(pid, ns)
		}
		return found == nil
	})
	if found == nil {
		return nil, errors.Join(err, ErrUninhabited)
	}
	return found, nil
}

// openInhabitant looks again once the pidfd is there: what was seen before may
// have been true of another process with that pid.
func (r *Resolver) openInhabitant(pid uint32, ns Netns) *os.File {
	fd, err := unix.PidfdOpen(int(pid), unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil
	}
	for _, in := range r.inhabits(pid) {
		if in == ns {
			return os.NewFile(uintptr(fd), "pidfd")
		}
	}
	_ = unix.Close(fd)
	return nil
}

// CgroupOf is the path of a process's cgroup below the mount; "" if it left.
func (r *Resolver) CgroupOf(pid uint32) string {
	d, err := openDir(r.proc, pid)
	if err != nil {
		return ""
	}
	defer d.close()
	return ownCgroup(d)
}
