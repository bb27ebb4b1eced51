package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

const nobodyID = 65534

// meddle is what a process without rights tries on a pin of ours. It is no
// error that all of it is refused.
func meddle(pin string) error {
	var done []error
	try := func(what string, err error) {
		if !errors.Is(err, os.ErrPermission) {
			done = append(done, fmt.Errorf("%s: %v", what, err))
		}
	}
	_, err := ebpf.LoadPinnedMap(pin, nil)
	try("open the map", err)
	_, err = ebpf.LoadPinnedMap(pin, &ebpf.LoadPinOptions{ReadOnly: true})
	try("open the map to read", err)
	_, err = link.LoadPinnedLink(pin, nil)
	try("open the link", err)
	_, err = ebpf.LoadPinnedProgram(pin, nil)
	try("open the program", err)
	try("remove", os.Remove(pin))
	_, err = os.ReadDir(filepath.Dir(pin))
	try("list", err)
	_, err = ebpf.MapGetNextID(0)
	try("list maps", err)
	_, err = ebpf.ProgramGetNextID(0)
	try("list programs", err)
	_, err = os.Create(pin + "x")
	try("add", err)
	return errors.Join(done...)
}

// TestNobody: what is pinned is root's alone. Nobody else opens, lists, removes or adds.
func TestNobody(t *testing.T) {
	w := newWorld(t, rewrite)
	names, err := pins(w.config.PinDir)
	if err != nil || len(names) < 20 {
		t.Fatalf("pinned: %q, %v", names, err)
	}
	steps := []step{{Do: "nobody"}}
	for _, name := range names {
		steps = append(steps, step{Do: "meddle", Addr: filepath.Join(w.config.PinDir, name)})
	}
	for i, r := range w.run(w.outside, steps...) {
		if r.Err != "" {
			t.Errorf("%+v: %s", steps[i], r.Err)
		}
	}
	if after, err := pins(w.config.PinDir); err != nil || len(after) != len(names) {
		t.Errorf("afterwards: %q, %v", after, err)
	}
	if info, err := os.Stat(w.config.PinDir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info.Mode(), err)
	}
}
