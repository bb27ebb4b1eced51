package process

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
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

// OwnNetns names the network namespace of the calling thread. The first thread of the
// process may be in another, where it was sent and came not back from.
func OwnNetns() (Netns, error) { return netnsAt("/proc/thread-self/ns/net") }

// OpenNetnsOf opens the network namespace that a socket is of. The caller closes
// the file.
func OpenNetnsOf(socket syscall.Conn) (ns *os.File, err error) {
	rc, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	var failed error
	err = rc.Control(func(fd uintptr) {
		var opened int
		if opened, failed = unix.IoctlRetInt(int(fd), unix.SIOCGSKNS); failed == nil {
			ns = os.NewFile(uintptr(opened), "network namespace")
		}
	})
	return ns, errors.Join(err, os.NewSyscallError("ioctl SIOCGSKNS", failed))
}

// Netns names the network namespace of a process, which is that of its first thread
// or, where that has ended, of another.
func (r *Resolver) Netns(pid uint32) (Netns, error) {
	d, _, err := openProcess(r.proc, pid, func(stat) bool { return true })
	if err != nil {
		return Netns{}, err
	}
	defer d.close()
	st, err := d.stat("ns/net")
	return Netns{st.Dev, st.Ino}, err
}

func netnsAt(path string) (Netns, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Netns{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return Netns{st.Dev, st.Ino}, nil
}

// MountedNetns opens the network namespaces that files in our mount namespace keep
// alive, each once: nobody need be in those. The caller closes the files.
func (r *Resolver) MountedNetns() (files []*os.File, err error) {
	text, err := os.ReadFile(filepath.Join(r.proc, "self/mountinfo"))
	if err != nil {
		return nil, err
	}
	seen := map[Netns]bool{}
	for _, path := range netnsMounts(string(text)) {
		f, failed := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if failed != nil {
			err = errors.Join(err, shortage(failed))
			continue // else it is gone
		}
		if ns, failed := NetnsOf(f); failed != nil || seen[ns] || !isNamespace(f) {
			_ = f.Close()
		} else {
			seen[ns] = true
			files = append(files, f)
		}
	}
	return files, err
}

// isNamespace tells a namespace from what is mounted over it.
func isNamespace(f *os.File) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &fs) == nil && fs.Type == unix.NSFS_MAGIC
}

// netnsMounts are the mount points of network namespaces in a mountinfo.
func netnsMounts(mountinfo string) (paths []string) {
	const root, point = 3, 4 // fields
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(mountinfo) {
		mount, source, _ := strings.Cut(line, " - ")
		fields := strings.Fields(mount)
		if strings.HasPrefix(source, "nsfs ") && len(fields) > point && strings.HasPrefix(fields[root], "net:[") {
			paths = append(paths, unescape.Replace(fields[point]))
		}
	}
	return paths
}

// OpenNetns opens the network namespaces that threads of a process are in, each
// once and without those for which skip is true. The process is the one that
// began at start. The caller closes the files.
func (r *Resolver) OpenNetns(pid uint32, start time.Duration, skip func(Netns) bool) ([]*os.File, error) {
	d, _, err := openLeader(r.proc, pid, func(s stat) bool { return s.startedAt(start) })
	if err != nil {
		return nil, err
	}
	defer d.close()
	var files []*os.File
	seen := map[Netns]bool{}
	threads, err := d.threads()
	for _, name := range threads {
		f, failed := d.open(name)
		if failed != nil {
			err = errors.Join(err, shortage(failed))
			continue // else the thread has ended
		}
		ns, err := NetnsOf(f)
		if err != nil || seen[ns] || skip(ns) {
			_ = f.Close()
			continue
		}
		seen[ns] = true
		files = append(files, f)
	}
	if len(files) > 0 {
		return files, nil
	}
	return nil, err
}

// shortage is an error that says nothing of the process that was looked at: we
// have no descriptor or memory left to look. Others say that it has ended.
func shortage(err error) error {
	for _, short := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM} {
		if errors.Is(err, short) {
			return err
		}
	}
	return nil
}

// threads lists the files of the network namespaces of a process's threads. An
// error is a shortage.
func (d dir) threads() ([]string, error) {
	names, err := d.tids()
	for i, tid := range names {
		names[i] = "task/" + tid + "/ns/net"
	}
	return names, err
}

// Inhabitants calls f for every other process and every network namespace that
// a thread of it is in, until f returns false. Threads of our own are in other
// namespaces on errands only. An error is that some were not looked at.
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
	var failed error
	self := os.Getpid()
	for _, name := range names {
		pid, err := strconv.ParseUint(name, 10, 32)
		if err != nil || int(pid) == self {
			continue
		}
		found, err := r.inhabits(uint32(pid))
		if err != nil && failed == nil {
			failed = err
		}
		for _, ns := range found {
			if !f(uint32(pid), ns) {
				return nil
			}
		}
	}
	return failed
}

// inhabits lists the network namespaces of a process's threads, each once. An
// error is a shortage.
func (r *Resolver) inhabits(pid uint32) (found []Netns, err error) {
	d, err := openDir(r.proc, pid)
	if err != nil {
		return nil, shortage(err)
	}
	defer d.close()
	seen := map[Netns]bool{}
	threads, err := d.threads()
	for _, name := range threads {
		st, failed := d.stat(name)
		if ns := (Netns{st.Dev, st.Ino}); failed == nil && !seen[ns] {
			seen[ns] = true
			found = append(found, ns)
		}
		if failed = shortage(failed); failed != nil {
			err = failed
		}
	}
	return found, err
}

// ErrUninhabited says that no process is in a network namespace.
var ErrUninhabited = errors.New("no process is in the network namespace")

// Inhabitant opens one of the processes in a network namespace as a pidfd,
// which the runtime can wait for. The caller closes it. ErrUninhabited is certain:
// every process was looked at. Any other error tells nothing.
func (r *Resolver) Inhabitant(ns Netns) (*os.File, error) {
	var found *os.File
	var failed error
	err := r.Inhabitants(func(pid uint32, in Netns) bool {
		if in == ns {
			found, failed = r.openInhabitant(pid, ns)
		}
		return found == nil && failed == nil
	})
	switch err = errors.Join(err, failed); {
	case found != nil:
		return found, nil
	case err != nil:
		return nil, err
	}
	return nil, ErrUninhabited
}

// openInhabitant looks again once the pidfd is there: what was seen before may
// have been true of another process with that pid. It gives nil where it was,
// and an error for a shortage.
func (r *Resolver) openInhabitant(pid uint32, ns Netns) (*os.File, error) {
	fd, err := unix.PidfdOpen(int(pid), unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, shortage(err)
	}
	found, err := r.inhabits(pid)
	if slices.Contains(found, ns) {
		return os.NewFile(uintptr(fd), "pidfd"), nil
	}
	_ = unix.Close(fd)
	return nil, err
}

// CgroupOf is the path of a process's cgroup below the mount; "" if it left.
func (r *Resolver) CgroupOf(pid uint32) string {
	d, _, err := openProcess(r.proc, pid, func(stat) bool { return true })
	if err != nil {
		return ""
	}
	defer d.close()
	return ownCgroup(d)
}
