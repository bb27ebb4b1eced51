package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netfilter"
	"github.com/outwarden/outwarden/pkg/netnstest"
)

// A namespace that a file keeps alive has no table of ours left when its last
// process has gone: detach, which goes by processes, would not find it. Whoever
// comes later has one again.
func TestTableGoesWithItsSet(t *testing.T) {
	ns, err := os.Open(netnstest.New(t).Path())
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	const name = "outwarden-test"
	ts := tables{
		changed: func(r netfilter.Restored) { t.Errorf("restored: %+v", r) },
		failed: func(what string, err error) {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		},
	}
	defer ts.closeAll()
	for range 2 {
		_, remove, err := ts.open(netfilter.Config{Name: name, Netns: ns, Local: netfilter.Local{IPv4: []uint16{1}}})
		if err != nil {
			t.Fatal(err)
		}
		if f, err := netfilter.Examine(ns, name); err != nil || !f.Table {
			t.Errorf("in place: %+v %v", f, err)
		}
		remove()
		if f, err := netfilter.Examine(ns, name); err != nil || f != (netfilter.Found{}) {
			t.Errorf("left: %+v %v", f, err)
		}
	}
}

// A namespace that a file keeps may have been left while no daemon ran: detach finds
// its table all the same.
func TestTableInAMountedNamespace(t *testing.T) {
	ns, err := os.Open(netnstest.New(t).Path())
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	name := fmt.Sprintf("outwarden-test-%d", os.Getpid())
	table, err := netfilter.Open(netfilter.Config{Name: name, Netns: ns, Local: netfilter.Local{IPv4: []uint16{1}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	place := filepath.Join(t.TempDir(), "a place")
	if err := os.WriteFile(place, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(ns.Name(), place, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(place, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	removed, err := removeTables("/" + name)
	if err != nil || len(removed) == 0 {
		t.Errorf("removed %v, %v", removed, err)
	}
	if f, err := netfilter.Examine(ns, name); err != nil || f != (netfilter.Found{}) {
		t.Errorf("left: %+v %v", f, err)
	}
}

// The list of runs is the old one or the new, and nothing lies beside it.
func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "scopes")
	for _, content := range []string{"a longer one\n", "short\n"} {
		if err := replaceFile(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != content {
			t.Errorf("%q %v", b, err)
		}
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("%v %v", all, err)
	}
}
