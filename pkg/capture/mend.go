package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Broken lists what others have taken away of the pinned state since Open:
// links that were detached, pins that were removed. Nothing: all is in force, as far as
// we have the descriptors and the memory to look. It costs some hundred microseconds.
func (c *Capture) Broken() (broken []string) {
	if _, err := os.Stat(c.config.PinDir); err != nil {
		return []string{err.Error()}
	}
	for _, h := range hooksFor(&outwardenPrograms{}, c.config.Redirect != 0) {
		if err := attachedAt(filepath.Join(c.config.PinDir, linkPrefix+h.name)); err != nil && !isShortage(err) {
			broken = append(broken, fmt.Sprintf("hook %s: %v", h.name, err))
		}
	}
	for name := range namedMaps(&c.maps) {
		if _, err := os.Stat(filepath.Join(c.config.PinDir, name)); err != nil {
			broken = append(broken, fmt.Sprintf("map %s: %v", name, err))
		}
	}
	return append(broken, c.brokenFences()...)
}

// isShortage: an error that is our own lack, and nobody's doing.
func isShortage(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// brokenFences looks at cgroups that are still there: from one that has gone
// the kernel itself detaches the link.
func (c *Capture) brokenFences() (broken []string) {
	c.scoping.Lock()
	defer c.scoping.Unlock()
	for id := range c.fences {
		err := attachedAt(fencePin(c.config.PinDir, id))
		if err != nil && !isShortage(err) && c.scopes[id].stands(id) { // in this order: the cgroup goes first
			broken = append(broken, fmt.Sprintf("hook egress of %s: %v", c.scopes[id].dir, err))
		}
	}
	return broken
}

// Mend puts back what Broken finds once nobody else is at work on the pins: a
// successor that takes them over has none for a moment, and its programs are to
// stay. What still stands is not interrupted: pins are made anew from the
// descriptors that we hold, and only links that were detached are attached anew. It
// must not run at the same time as Close.
func (c *Capture) Mend() error {
	parent, err := lockParent(c.config.PinDir)
	if err != nil {
		return err
	}
	defer parent.Close()
	if len(c.Broken()) == 0 {
		return nil
	}
	c.scoping.Lock()
	defer c.scoping.Unlock()
	if err := errors.Join(c.remakeDir(), c.repinMaps(), c.repinLinks()); err != nil {
		return fmt.Errorf("mend the pins: %w", err)
	}
	return errors.Join(c.relink(), c.refence())
}

// remakeDir makes the directory again where it was removed, and locks it.
func (c *Capture) remakeDir() error {
	if sameFile(c.pinned, c.config.PinDir) {
		return nil
	}
	if err := os.Mkdir(c.config.PinDir, 0o700); err != nil {
		return err
	}
	dir, err := lockDir(c.config.PinDir)
	if err != nil {
		return err
	}
	old := c.pinned
	c.pinned = dir
	return old.Close()
}

func (c *Capture) repinMaps() error {
	for name, m := range namedMaps(&c.maps) {
		pin := filepath.Join(c.config.PinDir, name)
		if _, err := os.Stat(pin); err == nil {
			continue
		}
		fresh, err := m.Clone() // which does not think that it is pinned
		if err != nil {
			return err
		}
		if err := errors.Join(fresh.Pin(pin), fresh.Close()); err != nil {
			return err
		}
	}
	return nil
}

// repinLinks pins the links that we hold. One that was detached is pinned too;
// relink sees that it is of no use.
func (c *Capture) repinLinks() error {
	for i, h := range hooksFor(&outwardenPrograms{}, c.config.Redirect != 0) { // in the order of c.links
		if err := repin(c.links[i], filepath.Join(c.config.PinDir, linkPrefix+h.name)); err != nil {
			return err
		}
	}
	for id, l := range c.fences {
		if err := repin(l, fencePin(c.config.PinDir, id)); err != nil {
			return err
		}
	}
	return nil
}

// repin pins a link by another descriptor, which does not think that it is pinned.
func repin(l link.Link, pin string) error {
	if _, err := os.Stat(pin); err == nil {
		return nil
	}
	info, err := l.Info()
	if err != nil {
		return err
	}
	fresh, err := link.NewFromID(info.ID)
	if err != nil {
		return err
	}
	return errors.Join(fresh.Pin(pin), fresh.Close())
}

// relink attaches every program as a successor would: what stands is updated in
// place, what was detached is attached anew.
func (c *Capture) relink() error {
	programs, opened, err := c.config.objects(c.config.PinDir)
	if err != nil {
		return err
	}
	defer programs.Close()
	defer opened.Close()
	old := c.links
	c.links = nil
	err = c.linkAll(&programs, c.config.PinDir)
	made := len(c.links) // each in the place of the old one
	c.links = append(c.links, old[made:]...)
	return errors.Join(err, closeAll(old[:made]))
}

// refence attaches the egress program again where it was detached.
func (c *Capture) refence() error {
	for id, l := range c.fences {
		pin := fencePin(c.config.PinDir, id)
		if !errors.Is(attachedAt(pin), ErrSevered) || !c.scopes[id].stands(id) {
			continue
		}
		delete(c.fences, id)
		if err := dropFence(l, pin); err != nil {
			return err
		}
	}
	return c.raiseFences(outermost(c.scopes))
}

func closeAll(links []link.Link) error {
	var failed []error
	for _, l := range links {
		failed = append(failed, l.Close())
	}
	return errors.Join(failed...)
}

// namedMaps are the maps by the names of their pins.
func namedMaps(m *outwardenMaps) map[string]*ebpf.Map {
	named := map[string]*ebpf.Map{}
	fields := reflect.ValueOf(m).Elem()
	for i := range fields.NumField() {
		named[fields.Type().Field(i).Tag.Get("ebpf")] = fields.Field(i).Interface().(*ebpf.Map)
	}
	return named
}
