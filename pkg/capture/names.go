package capture

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// Names are cgroups by what they are called, whether they are there or not.
type Names struct {
	Paths []string // under the cgroup mount, with or without the mount itself; "/" is every process
	Units []string // of the system manager, as in billing.service, wherever its slices have them
}

// find looks for the cgroups that are there. A unit that does not run has none,
// and one in a slice of slices may have several. Who is in both lists is exempt. An
// error is that we could not look: what is not found then may be there.
func (c *Capture) find(include, exclude Names) (map[uint64]scope, error) {
	found := map[uint64]scope{}
	for _, list := range []struct {
		names Names
		says  uint32
	}{{include, scopeInclude}, {exclude, scopeExclude}} {
		dirs, err := list.names.Dirs(c.config.CgroupRoot)
		if err != nil {
			return nil, fmt.Errorf("look for units: %w", err)
		}
		for _, dir := range dirs {
			id, err := cgroupID(dir)
			switch {
			case err == nil:
				found[id] = scope{dir, list.says}
			case isShortage(err):
				return nil, err
			} // else it is not there, or has just gone
		}
	}
	return found, nil
}

// Dirs are the directories under a cgroup2 mount that names may mean, whether
// they are there or not. An error is that units could not be looked for.
func (n Names) Dirs(root string) ([]string, error) {
	dirs := make([]string, 0, len(n.Paths)+len(n.Units))
	for _, path := range n.Paths {
		dirs = append(dirs, cgroupDir(root, path))
	}
	units := map[string]bool{}
	for _, unit := range n.Units {
		units[unit] = true
	}
	if len(units) == 0 {
		return dirs, nil
	}
	found, err := unitDirs(filepath.Clean(root), units)
	return append(dirs, found...), err
}

// unitDirs finds the cgroups of units of the system manager, which keeps slices
// and units as directories of their names. on_mkdir in bpf/outwarden.c goes by
// the same rule.
func unitDirs(root string, units map[string]bool) (dirs []string, err error) {
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil && !errors.Is(err, fs.ErrPermission):
			return skipGone(err)
		case err != nil, !e.IsDir(), path == root:
			return nil
		case units[e.Name()]:
			dirs = append(dirs, path)
		}
		if strings.HasSuffix(e.Name(), ".slice") {
			return nil
		}
		return fs.SkipDir
	})
	return dirs, err
}

// await tells the kernel side what will be said of cgroups that are yet to be
// made. A name that is too long for it is left to the next SetScope.
func (c *Capture) await(include, exclude Names) error {
	want := map[outwardenName]uint32{}
	for _, list := range []struct {
		names Names
		says  uint32
	}{{include, scopeInclude}, {exclude, scopeExclude}} {
		for _, path := range list.names.Paths {
			want[toName(c.cgroupPath(path))] = list.says
		}
		for _, unit := range list.names.Units {
			want[toName(unit)] = list.says
		}
	}
	delete(want, outwardenName{})
	if err := reconcile(c.maps.Awaited, want); err != nil {
		return fmt.Errorf("await cgroups: %w", err)
	}
	return nil
}

// cgroupPath is what the kernel calls a cgroup, by its path with or without the mount.
func (c *Capture) cgroupPath(path string) string {
	return "/" + strings.TrimPrefix(strings.TrimPrefix(c.cgroupDir(path), filepath.Clean(c.config.CgroupRoot)), "/")
}

// toName is a name as the kernel side has it, or nothing if it is too long.
func toName(text string) (n outwardenName) {
	if len(text) >= len(n.Text)-1 { // the kernel side cuts what is longer, and a cut one is nobody's
		return n
	}
	for i := range len(text) {
		n.Text[i] = int8(text[i])
	}
	return n
}
