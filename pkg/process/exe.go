package process

import (
	"os"
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

// readImage finds the executable of d. Kernel threads and zombies have none.
func readImage(d dir) (image, error) {
	st, err := d.stat("exe")
	if err != nil {
		return image{}, err
	}
	text, err := d.link("exe")
	if err != nil {
		return image{}, err
	}
	im := image{id: fileIDOf(&st)}
	if name, ok := believable(d, text, im.id.ExeID); ok {
		im.path = name
	} else {
		im.inside = strings.TrimSuffix(text, deleted)
	}
	return im, nil
}

// believable turns link text into a path that can be matched on. A process in
// our mount namespace cannot make the kernel say a path at which its file never
// was. In another namespace everything can be mounted anywhere, so there the
// path must lead us to the same file.
func believable(d dir, text string, id flow.ExeID) (string, bool) {
	if name, ok := strings.CutPrefix(text, "/memfd:"); ok {
		return "memfd:" + strings.TrimSuffix(name, deleted), true // no path pattern begins so
	}
	if !strings.HasPrefix(text, "/") {
		return "", false // "(unreachable)/..." and the like
	}
	if names(text, id) {
		return text, true
	}
	if sameMounts(d) {
		return strings.TrimSuffix(text, deleted), true
	}
	return "", false
}

// names reports whether path leads us to the file id.
func names(path string, id flow.ExeID) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && exeIDOf(&st) == id
}

// sameMounts reports whether d is in our mount namespace.
func sameMounts(d dir) bool {
	const path = "ns/mnt"
	theirs, err := d.stat(path)
	if err != nil {
		return false
	}
	var ours unix.Stat_t
	if unix.Stat("/proc/self/"+path, &ours) != nil {
		return false
	}
	return exeIDOf(&theirs) == exeIDOf(&ours)
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
