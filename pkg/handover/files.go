package handover

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/process"
)

// Kind says what a descriptor is that one daemon leaves to another.
type Kind string

// All kinds. Others, of another version, are closed by whoever gets them.
const (
	KindListener Kind = "listener" // captured connections arrive here; see also ListenerIn
	KindGuest    Kind = "guest"    // and those of guests here
	KindControl  Kind = "control"  // and control requests here
	KindLock     Kind = "lock"     // of run_dir
	KindPins     Kind = "pins"     // the lock of the pinned state
	KindHandover Kind = "handover" // successors come here
)

// ListenerIn is the kind of the listeners in another network namespace. The service
// manager can be told to let go of one kind.
func ListenerIn(ns process.Netns) Kind {
	return Kind(fmt.Sprintf("%s-%x-%x", KindListener, ns.Dev, ns.Inode))
}

// Files are duplicates of what a daemon has, for another. Whoever adds to them
// closes them.
type Files struct {
	kinds []Kind
	files []*os.File
}

// Add adds the duplicate that get makes.
func (f *Files) Add(what Kind, get func() (*os.File, error)) error {
	file, err := get()
	if err == nil {
		f.kinds, f.files = append(f.kinds, what), append(f.files, file)
	}
	return err
}

// AddDuplicate adds a duplicate of a file.
func (f *Files) AddDuplicate(what Kind, of *os.File) error {
	return f.Add(what, func() (*os.File, error) { return duplicate(of) })
}

// Close closes them all.
func (f *Files) Close() { closeAll(f.files) }

// take takes the first of a kind out, which is not closed with the others; nil if
// there is none.
func (f *Files) take(what Kind) *os.File {
	i := slices.Index(f.kinds, what)
	if i < 0 {
		return nil
	}
	file := f.files[i]
	f.kinds, f.files = slices.Delete(f.kinds, i, i+1), slices.Delete(f.files, i, i+1)
	return file
}

func duplicate(f *os.File) (copied *os.File, err error) {
	err = withFD(f, func(fd int) error {
		fd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			copied = os.NewFile(uintptr(fd), f.Name())
		}
		return os.NewSyscallError("fcntl", err)
	})
	return copied, err
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// withFD is withFDs for one file.
func withFD(file *os.File, f func(fd int) error) error {
	return withFDs([]*os.File{file}, nil, func(fds []int) error { return f(fds[0]) })
}

// withFDs gives f the descriptors of files. File.Fd would make them block, and
// with them every other descriptor of the same socket.
func withFDs(files []*os.File, fds []int, f func([]int) error) error {
	if len(files) == 0 {
		return f(fds)
	}
	rc, err := files[0].SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = rc.Control(func(fd uintptr) { failed = withFDs(files[1:], append(fds, int(fd)), f) })
	return errors.Join(err, failed)
}
