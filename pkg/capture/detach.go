package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf/link"
)

// Detach removes all that Open made in pinDir (DefaultPinDir if empty), also
// what a process left half made, and returns what it removed, for printing. It
// needs no daemon; one that runs keeps its descriptors of the maps and nothing
// else. Where nothing is, nothing is removed and there is no error. A bpffs
// that Open mounted stays mounted.
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

// removeState detaches the links pinned in dir, then removes the maps and dir.
func removeState(dir string, removed *[]string) error {
	names, err := pins(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	note := func(what, name string) {
		if removed != nil {
			*removed = append(*removed, what+" "+filepath.Join(dir, name))
		}
	}
	var failed []error
	for _, links := range []bool{true, false} { // a map goes after the programs that use it
		for _, name := range names {
			isLink := strings.HasPrefix(name, linkPrefix)
			if isLink != links {
				continue
			}
			what := "map"
			if isLink {
				what = "link"
				detachLink(filepath.Join(dir, name))
			}
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				failed = append(failed, err)
				continue
			}
			note(what, name)
		}
	}
	if err := os.Remove(dir); err != nil {
		return errors.Join(append(failed, fmt.Errorf("remove pinned state: %v", err))...)
	}
	note("directory", "")
	return errors.Join(failed...)
}

// detachLink detaches at once, whoever else holds the link. Where the kernel
// cannot, the link goes with its pin, which is why the error is of no use.
func detachLink(pin string) {
	if l, err := link.LoadPinnedLink(pin, nil); err == nil {
		_ = l.Detach()
		l.Close()
	}
}
