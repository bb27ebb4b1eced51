package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// fencePrefix begins the names of the pinned links of the egress program; the
// cgroup's id follows.
const fencePrefix = linkPrefix + "egress_"

// The egress program runs for every packet, so it does not stand at the root:
// it stands at each cgroup in scope that has none in scope above it, and at
// those only, because what stands at two levels runs twice. What is exempt
// inside, the program itself knows by the scope map.

// outermost gives the directories of those cgroups, by id.
func outermost(scopes map[uint64]scope) map[uint64]string {
	included := map[string]bool{}
	for _, s := range scopes {
		if s.says == scopeInclude {
			included[s.dir] = true
		}
	}
	want := map[uint64]string{}
	for id, s := range scopes {
		if included[s.dir] && !isBelow(s.dir, included) {
			want[id] = s.dir
		}
	}
	return want
}

// isBelow reports whether one of the directories is above dir.
func isBelow(dir string, dirs map[string]bool) bool {
	for above := filepath.Dir(dir); ; above = filepath.Dir(above) {
		if dirs[above] {
			return true
		}
		if above == filepath.Dir(above) {
			return false
		}
	}
}

// raiseFences attaches the egress program where it is wanted and is not yet, but for
// cgroups that have gone meanwhile: nobody is in those. c.scoping is held.
func (c *Capture) raiseFences(want map[uint64]string) error {
	for id, dir := range want {
		if c.fences[id] != nil {
			continue
		}
		h := egress(c.fence)
		l, err := h.link(dir, fencePin(c.config.PinDir, id)) // a successor that failed may have left one
		if err != nil && !(scope{dir: dir}).stands(id) {
			continue
		}
		if err != nil {
			return fmt.Errorf("attach egress to %s: %w", dir, h.blocked(dir, err))
		}
		c.fences[id] = l
	}
	return nil
}

// dropFences takes the egress program away where it is not wanted any more.
// What an earlier process was told of stays until this one is told the whole
// scope. c.scoping is held.
func (c *Capture) dropFences(want map[uint64]string) error {
	var failed []error
	for id, l := range c.fences {
		if want[id] != "" || c.isForeign(id) {
			continue
		}
		delete(c.fences, id)
		failed = append(failed, dropFence(l, fencePin(c.config.PinDir, id)))
	}
	return errors.Join(failed...)
}

// isForeign reports whether a cgroup is in scope by the word of an earlier process.
func (c *Capture) isForeign(id uint64) bool {
	var says uint32
	_, known := c.scopes[id]
	return !known && c.maps.Scopes.Lookup(id, &says) == nil && says == scopeInclude
}

func dropFence(l link.Link, pin string) error {
	_ = l.Detach() // not before 5.9; there the link goes with its pin and descriptor
	if err := os.Remove(pin); err != nil && !errors.Is(err, os.ErrNotExist) {
		return errors.Join(err, l.Close())
	}
	return l.Close()
}

// takeFences gives the links of an earlier process the new program. One whose
// cgroup has gone is of no use.
func (c *Capture) takeFences(dir string) error {
	names, err := pins(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		id, ok := fencedBy(name)
		if !ok {
			continue
		}
		pin := filepath.Join(dir, name)
		l, err := link.LoadPinnedLink(pin, nil)
		if err != nil {
			return fmt.Errorf("take over %s: %v", pin, err)
		}
		if err := l.Update(c.fence); errors.Is(err, unix.ENOLINK) {
			if err := dropFence(l, pin); err != nil {
				return err
			}
			continue
		} else if err != nil {
			return errors.Join(fmt.Errorf("take over %s: %v", pin, err), l.Close())
		}
		c.fences[id] = l
	}
	return nil
}

func fencePin(dir string, id uint64) string {
	return filepath.Join(dir, fencePrefix+strconv.FormatUint(id, 16))
}

// fencedBy is the cgroup that a pin's name tells.
func fencedBy(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, fencePrefix)
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseUint(digits, 16, 64)
	return id, err == nil
}
