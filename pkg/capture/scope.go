package capture

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// What a scope entry says; enum scope in bpf/flow.h.
const (
	scopeInclude uint32 = 1 + iota
	scopeExclude
)

// scope is what was said about a cgroup.
type scope struct {
	dir  string
	says uint32
}

// stands reports whether its cgroup, which had that id, is still there; another
// one may have its name by now.
func (s scope) stands(id uint64) bool {
	now, err := cgroupID(s.dir)
	return err == nil && now == id
}

// AddScope captures the processes of a cgroup and of those below it, unless a
// nearer ancestor says otherwise. The path is one under the cgroup mount, with
// or without the mount itself: "/" is every process. Processes that have
// connected before stay as they are.
func (c *Capture) AddScope(cgroupPath string) error { return c.setScope(cgroupPath, scopeInclude) }

// Exclude exempts the processes of a cgroup and of those below it, unless a
// nearer ancestor says otherwise.
func (c *Capture) Exclude(cgroupPath string) error { return c.setScope(cgroupPath, scopeExclude) }

// RemoveScope forgets what AddScope or Exclude said about a cgroup. The cgroup must still exist.
func (c *Capture) RemoveScope(cgroupPath string) error {
	id, err := cgroupID(c.cgroupDir(cgroupPath))
	if err != nil {
		return err
	}
	c.scoping.Lock()
	defer c.scoping.Unlock()
	next := maps.Clone(c.scopes)
	delete(next, id)
	return c.rescope(next, func() error {
		if err := c.maps.Scopes.Delete(id); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("remove scope %s: %v", cgroupPath, err)
		}
		return nil
	})
}

// SetScope makes the scope exactly what these names say, for a start, a reload,
// or after an EventCgroup, and reports whether anything of it is new to this
// process. A cgroup that is not there yet is captured, or exempt, from its first
// process on: the kernel side knows its name too. What is new is added before
// what is gone is removed, so nothing slips through; on an error nothing is removed.
func (c *Capture) SetScope(include, exclude Names) (changed bool, err error) {
	c.scoping.Lock()
	defer c.scoping.Unlock()
	if err := c.await(include, exclude); err != nil {
		return false, err
	}
	before, err := keysOf[uint64](c.maps.Scopes) // what the kernel adds from here on goes by the new names
	if err != nil {
		return false, err
	}
	next, err := c.find(include, exclude)
	if err != nil {
		return false, err
	}
	stale := slices.ContainsFunc(before, func(id uint64) bool { _, ok := next[id]; return !ok })
	if maps.Equal(next, c.scopes) && !stale {
		return false, nil
	}
	return true, c.rescope(next, func() error { return replace(c.maps.Scopes, before, saysOf(next)) })
}

// Scope lists the directories of the cgroups that are captured, and of those
// that are exempt, as far as they were there when this process said so.
func (c *Capture) Scope() (included, excluded []string) {
	c.scoping.Lock()
	defer c.scoping.Unlock()
	for _, s := range c.scopes {
		if s.says == scopeInclude {
			included = append(included, s.dir)
		} else {
			excluded = append(excluded, s.dir)
		}
	}
	slices.Sort(included)
	slices.Sort(excluded)
	return included, excluded
}

// Covers reports whether the processes of a cgroup are captured, by its path
// below the mount: the nearest of it and its ancestors that is named decides, as
// it does in the hooks.
func (c *Capture) Covers(cgroup string) bool {
	return cgroup != "" && nearest(c.said(), filepath.Join(c.config.CgroupRoot, cgroup)) == scopeInclude
}

// rescope makes next the scope; write tells the hooks. The egress program
// stands before they are told and stays until they have been. c.scoping is held.
func (c *Capture) rescope(next map[uint64]scope, write func() error) error {
	want := outermost(next)
	if err := c.raiseFences(want); err != nil {
		return err
	}
	if err := c.sift(next); err != nil {
		return err
	}
	if err := write(); err != nil {
		return err
	}
	c.scopes = next
	return c.dropFences(want)
}

// sift lets the hooks look for scopes at all; without it they take a cgroup for
// one of which nothing is said.
func (c *Capture) sift(scopes map[uint64]scope) error {
	size := uint64(c.maps.Sieve.MaxEntries())
	for id, s := range scopes {
		if err := c.maps.Sieve.Put(uint32(id%size), uint8(1)); err != nil {
			return fmt.Errorf("sift scope %s: %v", s.dir, err)
		}
	}
	return nil
}

// SetPorts makes the redirected TCP destination ports exactly these.
func (c *Capture) SetPorts(ports []uint16) error {
	want := map[uint16]uint8{}
	for _, port := range ports {
		want[port] = 1
	}
	return reconcile(c.maps.Ports, want)
}

func (c *Capture) setScope(path string, says uint32) error {
	dir := c.cgroupDir(path)
	id, err := cgroupID(dir)
	if err != nil {
		return err
	}
	c.scoping.Lock()
	defer c.scoping.Unlock()
	next := maps.Clone(c.scopes)
	next[id] = scope{dir, says}
	return c.rescope(next, func() error {
		if err := c.maps.Scopes.Put(id, says); err != nil {
			return fmt.Errorf("set scope %s: %v", path, err)
		}
		return nil
	})
}

// cgroupDir is the directory of a cgroup, by its path with or without the mount.
func (c *Capture) cgroupDir(path string) string { return cgroupDir(c.config.CgroupRoot, path) }

func cgroupDir(root, path string) string {
	root, path = filepath.Clean(root), filepath.Clean(path)
	if path == root || strings.HasPrefix(path, root+"/") {
		return path
	}
	return filepath.Join(root, path)
}

// saysOf is a scope as the map has it.
func saysOf(scopes map[uint64]scope) map[uint64]uint32 {
	says := make(map[uint64]uint32, len(scopes))
	for id, s := range scopes {
		says[id] = s.says
	}
	return says
}

// reconcile makes a map hold exactly what is wanted: first it adds, then it removes.
func reconcile[K comparable, V any](m *ebpf.Map, want map[K]V) error {
	before, err := keysOf[K](m)
	if err != nil {
		return err
	}
	return replace(m, before, want)
}

// replace adds what is wanted to a map, and then removes what is not of what it
// held before.
func replace[K comparable, V any](m *ebpf.Map, before []K, want map[K]V) error {
	for key, value := range want {
		if err := m.Put(key, value); err != nil {
			return fmt.Errorf("add %v to %s: %v", key, m, err)
		}
	}
	for _, key := range before {
		if _, ok := want[key]; ok {
			continue
		}
		if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("remove %v from %s: %v", key, m, err)
		}
	}
	return nil
}

// keysOf lists the keys of a map from which nobody else removes any meanwhile.
func keysOf[K any](m *ebpf.Map) ([]K, error) {
	var keys []K
	var key, previous K
	var at any // nil: the first key
	for {
		err := m.NextKey(at, &key)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return keys, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %v", m, err)
		}
		keys = append(keys, key)
		previous = key
		at = previous
	}
}
