package capture

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf/link"
)

// What can be wrong with a hook.
var (
	ErrUnpinned = errors.New("its link is not pinned")
	ErrSevered  = errors.New("its link is pinned, but detached from the cgroup")
)

// HookState is one of our hooks as it really stands in the kernel.
type HookState struct {
	Hook string
	Err  error // nil: in force; else ErrUnpinned, ErrSevered or what kept us from knowing
}

// Hooks tells how the hooks stand that are pinned in pinDir. A pin alone says
// nothing: whoever may detach a link leaves its pin behind. It needs no daemon;
// where there is no such directory, nothing is attached and the error is that
// of a file that does not exist.
func Hooks(pinDir string) ([]HookState, error) {
	names, err := pins(pinDir)
	if err != nil {
		return nil, err
	}
	expected := map[string]bool{}
	var states []HookState
	look := func(hook string) {
		expected[hook] = true
		states = append(states, HookState{hook, attachedAt(filepath.Join(pinDir, linkPrefix+hook))})
	}
	for _, h := range hooks(&outwardenPrograms{}) {
		look(h.name)
	}
	for _, name := range names { // of what is attached only at times
		if hook, ok := strings.CutPrefix(name, linkPrefix); ok && !expected[hook] {
			look(hook)
		}
	}
	return slices.DeleteFunc(states, HookState.isOver), nil
}

// isOver reports whether it was detached by the kernel itself, with the cgroup
// at which it stood.
func (s HookState) isOver() bool {
	id, fence := fencedBy(linkPrefix + s.Hook)
	return fence && errors.Is(s.Err, ErrSevered) && !isThere(id)
}

// isThere looks for a cgroup by its id in the whole tree, which takes a while.
func isThere(id uint64) (found bool) {
	root, err := cgroupMount()
	if err != nil {
		return false
	}
	_ = filepath.WalkDir(root, func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() { // one that went meanwhile is none
			return nil
		}
		if found = (scope{dir: dir}).stands(id); found {
			return fs.SkipAll
		}
		return nil
	})
	return found
}

// attachedAt tells what is wrong with a pinned link.
func attachedAt(pin string) error {
	l, err := link.LoadPinnedLink(pin, nil)
	if errors.Is(err, os.ErrNotExist) {
		return ErrUnpinned
	}
	if err != nil {
		return fmt.Errorf("open its link: %w", err)
	}
	defer l.Close()
	info, err := l.Info()
	if err != nil {
		return fmt.Errorf("look at its link: %w", err)
	}
	if cgroup := info.Cgroup(); cgroup != nil && cgroup.CgroupId == 0 {
		return ErrSevered
	}
	return nil
}
