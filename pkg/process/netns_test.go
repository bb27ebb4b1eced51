package process

import (
	"errors"
	"os"
	"testing"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// A network namespace is found by its process, the process by the namespace,
// and no longer when it has ended or was another.
func TestNetns(t *testing.T) {
	r := NewResolver(Options{})
	ns := netnstest.New(t)
	file, err := os.Open(ns.Path())
	must(t, err)
	defer file.Close()
	want, err := NetnsOf(file)
	must(t, err)
	if _, err := r.Inhabitant(want); !errors.Is(err, ErrUninhabited) {
		t.Errorf("an empty namespace: %v, want %v", err, ErrUninhabited)
	}
	var s *spawned
	ns.Do(func() { s = spawn(t, self("wait")) })
	if got, err := r.Netns(s.pid); got != want {
		t.Errorf("namespace of the process %v, %v; want %v", got, err, want)
	}
	start := connected(t, r, s.pid).Caller.Start
	opened, err := r.OpenNetns(s.pid, start, func(Netns) bool { return false })
	if err != nil || len(opened) != 1 {
		t.Fatalf("opened %d namespaces, %v; want one", len(opened), err)
	}
	if got, err := NetnsOf(opened[0]); got != want {
		t.Errorf("opened %v, %v; want %v", got, err, want)
	}
	must(t, opened[0].Close())
	if opened, err := r.OpenNetns(s.pid, start, func(ns Netns) bool { return ns == want }); len(opened) != 0 || err != nil {
		t.Errorf("opened %d that were to be left out, %v", len(opened), err)
	}
	if _, err := r.OpenNetns(s.pid, start+tick, func(Netns) bool { return false }); err == nil {
		t.Error("a process that began at another time is taken for this one")
	}
	someone, err := r.Inhabitant(want)
	must(t, err)
	must(t, someone.Close())
	s.stop()
	if _, err := r.Inhabitant(want); !errors.Is(err, ErrUninhabited) {
		t.Errorf("after its end: %v, want %v", err, ErrUninhabited)
	}
}
