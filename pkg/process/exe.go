package process

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/flow"
)

// deleted is what the kernel appends to the link text of a removed file.
const deleted = " (deleted)"

// fileID is a file and its contents at one time: a write changes the times, and
// ctime cannot be set back from user space.
type fileID struct {
	flow.ExeID
	size         int64
	mtime, ctime unix.Timespec
}

func fileIDOf(st *unix.Stat_t) fileID {
	return fileID{exeIDOf(st), st.Size, st.Mtim, st.Ctim}
}

func exeIDOf(st *unix.Stat_t) flow.ExeID {
	return flow.ExeID{Dev: uint64(st.Dev), Inode: st.Ino}
}

// image is an executable as one process has it.
type image struct {
	id     fileID
	path   string // in our mount namespace; "" if it cannot be told
	inside string // what the process' own namespace calls it, if path is ""
}

// readImage finds the executable of d. Kernel threads and zombies have none. All
// that it says is of one file, though the process may execute another meanwhile.
func readImage(d dir) (image, error) {
	f, err := d.openPath("exe")
	if err != nil {
		return image{}, err
	}
	defer f.Close()
	st, err := statFile(f)
	if err != nil {
		return image{}, err
	}
	text, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		return image{}, err
	}
	im := image{id: fileIDOf(&st)}
	name, ok, err := believable(text, im.id.ExeID, func() (bool, error) { return isMounted(f) })
	if ok {
		im.path = name
	} else {
		im.inside = strings.TrimSuffix(text, deleted)
	}
	return im, err
}

// believable turns link text into a path that can be matched on: one that leads us
// to the same file, or led there. A file system that is not mounted where we see it,
// in another namespace or nowhere any more, may hold any path, and so may a process
// in our own namespace execute from it; there the text proves nothing. An error is
// a shortage.
func believable(text string, id flow.ExeID, mounted func() (bool, error)) (path string, ok bool, err error) {
	if name, ok := strings.CutPrefix(text, "/memfd:"); ok {
		return "memfd:" + strings.TrimSuffix(name, deleted), true, nil // no path pattern begins so
	}
	if !strings.HasPrefix(text, "/") {
		return "", false, nil // "(unreachable)/..." and the like
	}
	if names(text, id) {
		return text, true, nil
	}
	if ok, err = mounted(); ok {
		return strings.TrimSuffix(text, deleted), true, nil
	}
	return "", false, err
}

// names reports whether path leads us to the file id.
func names(path string, id flow.ExeID) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && exeIDOf(&st) == id
}

// isMounted reports whether the mount through which f was opened is one of our own
// namespace's. Its id is nobody else's while f is open.
func isMounted(f *os.File) (bool, error) {
	var st unix.Statx_t
	err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st)
	if err != nil || st.Mask&unix.STATX_MNT_ID == 0 {
		return false, shortage(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, shortage(err)
	}
	_, ok := deviceOf(mounts, strconv.FormatUint(st.Mnt_id, 10))
	return ok, nil
}

// openImage opens the file behind an image: through the process, which reaches
// it even if it was deleted, else by its path.
func openImage(d *dir, im image) (*os.File, error) {
	if d != nil {
		return d.open("exe")
	}
	fd, err := unix.Open(im.path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), im.path), nil
}
