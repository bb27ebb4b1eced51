package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Detach removes all that Open made in pinDir (DefaultPinDir if empty), also
// what a process left half made, and returns what it removed, for printing. It
// leaves what it does not know, and says so with ErrForeign. It needs no daemon;
// one that runs keeps its descriptors of the maps and nothing else. Where nothing
// is, nothing is removed and there is no error. A bpffs that Open mounted stays
// mounted.
func Detach(pinDir string) ([]string, error) {
	if pinDir == "" {
		pinDir = DefaultPinDir
	}
	if !isBPF(filepath.Dir(pinDir)) {
		return nil, nil
	}
	parent, err := lockParent(pinDir)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	var removed []string
	err = errors.Join(removeState(pinDir, &removed), removeState(pinDir+buildSuffix, &removed))
	return removed, err
}

// InUse is ErrInUse where a process uses what is pinned in pinDir (DefaultPinDir if
// empty), which Detach would take from it.
func InUse(pinDir string) error {
	if pinDir == "" {
		pinDir = DefaultPinDir
	}
	d, err := openPins(pinDir)
	if err != nil {
		return nil // whatever is wrong with it Detach tells
	}
	defer d.Close()
	if checkOwner(d) == nil && errors.Is(flock(d, unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK) {
		return fmt.Errorf("%s: %w", pinDir, ErrInUse)
	}
	return nil
}

// removeState detaches the links pinned in dir, then removes the maps and dir. What
// it does not know by name is another's and stays, and dir with it. It goes by a
// descriptor: where everybody may write to the directory above, somebody could put
// a link in the place of dir, that leads elsewhere.
func removeState(dir string, removed *[]string) error {
	d, err := openPins(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	note := func(what, name string) {
		if removed != nil {
			*removed = append(*removed, what+" "+filepath.Join(dir, name))
		}
	}
	others, err := removePins(d, names, note)
	switch {
	case err != nil:
		return err
	case len(others) > 0:
		return fmt.Errorf("%s: %w: %d pins are not ours and stay, %s among them", dir, ErrForeign, len(others), others[0])
	}
	if err := unix.Rmdir(dir); err != nil {
		return fmt.Errorf("remove pinned state: %v", err)
	}
	note("directory", "")
	return nil
}

// removePins removes what is ours in a directory, and gives what is not.
func removePins(d *os.File, names []string, note func(what, name string)) (others []string, err error) {
	mayDetach := checkOwner(d) == nil // else a name may be a way to somebody's link
	links, maps, others := partPins(names)
	for _, name := range links { // a map goes after the programs that use it
		if mayDetach {
			detachLink(fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name))
		}
		err = errors.Join(err, removePin(d, name, func() { note("link", name) }))
	}
	for _, name := range maps {
		err = errors.Join(err, removePin(d, name, func() { note("map", name) }))
	}
	return others, err
}

// openPins opens a directory of pins, which no link leads to.
func openPins(dir string) (*os.File, error) {
	d, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("%s: %w (no directory); remove it", dir, ErrForeign)
	}
	if err != nil {
		return nil, err
	}
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(d.Fd()), &s); err != nil || s.Type != unix.BPF_FS_MAGIC {
		return nil, errors.Join(fmt.Errorf("%s is not on a bpffs", dir), err, d.Close())
	}
	return d, nil
}

// partPins tells our links and maps from what others have put there. A map that a
// version had and this one has not would have to be named here.
func partPins(names []string) (links, maps, others []string) {
	known := namedMaps(&outwardenMaps{})
	for _, name := range names {
		switch _, isMap := known[name]; {
		case strings.HasPrefix(name, linkPrefix):
			links = append(links, name)
		case isMap:
			maps = append(maps, name)
		default:
			others = append(others, name)
		}
	}
	return links, maps, others
}

func removePin(dir *os.File, name string, done func()) error {
	if err := unix.Unlinkat(int(dir.Fd()), name, 0); err != nil {
		return &os.PathError{Op: "remove", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	done()
	return nil
}

// detachLink detaches at once, whoever else holds the link. Where the kernel
// cannot, the link goes with its pin, which is why the error is of no use.
func detachLink(pin string) {
	if l, err := link.LoadPinnedLink(pin, nil); err == nil {
		_ = l.Detach()
		l.Close()
	}
}
