package process

import (
	"encoding/binary"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// fileidKernfs is the handle type of kernfs, which cgroup2 is made of
// (include/linux/exportfs.h); its eight bytes are the cgroup id.
const fileidKernfs = 0xfe

// cgroups turns cgroup ids into paths. Ids are never reused while the machine
// runs and a cgroup cannot be renamed, so what was learnt stays true.
type cgroups struct {
	mount string
	limit int

	mu    sync.Mutex
	paths map[uint64]string
}

func newCgroups(mount string, limit int) *cgroups {
	return &cgroups{mount: mount, limit: limit, paths: make(map[uint64]string)}
}

// path returns the path of the cgroup below the mount. Where the id cannot be
// opened (no CAP_DAC_READ_SEARCH, or the cgroup was removed) hint is taken if
// it has that id. An error is a shortage, by which the path is not known now.
func (c *cgroups) path(id uint64, hint string) (string, error) {
	if id == 0 || c.mount == "" {
		return "", nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.paths[id]; ok {
		return p, nil
	}
	p, err := c.find(id, hint)
	if p == "" {
		return "", err
	}
	if len(c.paths) >= c.limit {
		clear(c.paths)
	}
	c.paths[id] = p
	return p, nil
}

func (c *cgroups) find(id uint64, hint string) (string, error) {
	p, err := c.open(id)
	if err == nil {
		return p, nil
	}
	if got, failed := c.id(hint); hint == "" || failed != nil || got != id {
		return "", shortage(err)
	}
	return hint, nil
}

// open asks the kernel for the directory with that id.
func (c *cgroups) open(id uint64) (string, error) {
	mount, err := unix.Open(c.mount, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(mount)
	handle := unix.NewFileHandle(fileidKernfs, binary.NativeEndian.AppendUint64(nil, id))
	fd, err := unix.OpenByHandleAt(mount, handle, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	text, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "", err
	}
	below, ok := strings.CutPrefix(text, c.mount)
	if !ok || below != "" && below[0] != '/' {
		return "", unix.ENOENT
	}
	if below == "" {
		below = "/"
	}
	if got, err := c.id(below); err != nil || got != id { // removed: the kernel appends to its text what anybody may call his own
		return "", unix.ENOENT
	}
	return below, nil
}

// id is the inverse of path: on cgroup2 the inode number is the id.
func (c *cgroups) id(path string) (uint64, error) {
	var st unix.Stat_t
	err := unix.Lstat(c.mount+path, &st)
	return st.Ino, err
}
