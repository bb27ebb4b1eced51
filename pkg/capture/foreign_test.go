package capture

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
)

// TestPinsThatAreNotOurs: where everybody may write to a bpffs, as the kernel mounts
// it, our name there may be anything. Nothing of anybody else is opened or removed.
func TestPinsThatAreNotOurs(t *testing.T) {
	w := newWorld(t, rewrite)
	elsewhere := t.TempDir()
	precious := filepath.Join(elsewhere, "state") // as a map of ours is called
	if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := w.config
	config.PinDir += "-foreign"
	for _, name := range []string{config.PinDir, config.PinDir + buildSuffix} {
		if err := os.Symlink(elsewhere, name); err != nil {
			t.Fatal(err)
		}
		if c, err := Open(config); !errors.Is(err, ErrForeign) {
			t.Errorf("open by a link: %v, %v, want %v", c, err, ErrForeign)
		}
		if removed, err := Detach(config.PinDir); !errors.Is(err, ErrForeign) || len(removed) > 0 {
			t.Errorf("detach by a link removed %q, %v, want %v", removed, err, ErrForeign)
		}
		if _, err := os.Stat(precious); err != nil {
			t.Fatalf("what the link leads to: %v", err)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}

	if err := os.Mkdir(config.PinDir, 0o700); err != nil { // another tool's, that a configuration names by mistake
		t.Fatal(err)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	theirs := filepath.Join(config.PinDir, "cilium_lxc")
	t.Cleanup(func() { os.Remove(theirs); os.Remove(config.PinDir) })
	if err := m.Pin(theirs); err != nil {
		t.Fatal(err)
	}
	if removed, err := Detach(config.PinDir); !errors.Is(err, ErrForeign) || len(removed) > 0 {
		t.Errorf("detach of another's pins removed %q, %v, want %v", removed, err, ErrForeign)
	}
	if _, err := os.Stat(theirs); err != nil {
		t.Errorf("another's pin: %v", err)
	}
}

// TestLinkOfAnotherStays: a directory that somebody else may write to can hold a way
// to a link that is not ours, under a name of ours.
func TestLinkOfAnotherStays(t *testing.T) {
	w := newWorld(t, rewrite)
	squat := w.config.PinDir + "-squat"
	if err := errors.Join(os.Mkdir(squat, 0o777), os.Chown(squat, 65534, 65534),
		os.Symlink(filepath.Join(w.config.PinDir, "link_connect4"), filepath.Join(squat, "link_connect4"))); err != nil {
		t.Fatal(err)
	}
	if _, err := Detach(squat); err != nil {
		t.Error(err)
	}
	w.attached()
}
