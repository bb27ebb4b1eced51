package capture

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
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

// SetScope makes the scope exactly these subtrees, for a start or a reload:
// what is new is added before what is gone is removed, so nothing slips through.
func (c *Capture) SetScope(include, exclude []string) error {
	next, says := map[uint64]scope{}, map[uint64]uint32{}
	for _, list := range []struct {
		paths []string
		says  uint32
	}{{include, scopeInclude}, {exclude, scopeExclude}} {
		for _, path := range list.paths {
			dir := c.cgroupDir(path)
			id, err := cgroupID(dir)
			if err != nil {
				return err
			}
			next[id], says[id] = scope{dir, list.says}, list.says
		}
	}
	c.scoping.Lock()
	defer c.scoping.Unlock()
	return c.rescope(next, func() error { return reconcile(c.maps.Scopes, says) })
}

// rescope makes next the scope; write tells the hooks. The egress program
// stands before they are told and stays until they have been. c.scoping is held.
func (c *Capture) rescope(next map[uint64]scope, write func() error) error {
	want := outermost(next)
	if err := c.raiseFences(want); err != nil {
		return err
	}
	if err := write(); err != nil {
		return err
	}
	c.scopes = next
	return c.dropFences(want)
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
func (c *Capture) cgroupDir(path string) string {
	root := filepath.Clean(c.config.CgroupRoot)
	path = filepath.Clean(path)
	if path == root || strings.HasPrefix(path, root+"/") {
		return path
	}
	return filepath.Join(root, path)
}

// reconcile makes a map hold exactly what is wanted: first it adds, then it removes.
func reconcile[K comparable, V any](m *ebpf.Map, want map[K]V) error {
	for key, value := range want {
		if err := m.Put(key, value); err != nil {
			return fmt.Errorf("add %v to %s: %v", key, m, err)
		}
	}
	keys, err := keysOf[K](m)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if _, ok := want[key]; ok {
			continue
		}
		if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("remove %v from %s: %v", key, m, err)
		}
	}
	return nil
}

// keysOf lists the keys of a map that nobody else changes meanwhile.
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
