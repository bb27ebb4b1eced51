package process

import (
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

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
	if _, err := starved(t, func() (*os.File, error) { return r.Inhabitant(want) }); !errors.Is(err, unix.EMFILE) || errors.Is(err, ErrUninhabited) {
		t.Errorf("without descriptors: %v, want %v", err, unix.EMFILE)
	}
	s.stop()
	if _, err := r.Inhabitant(want); !errors.Is(err, ErrUninhabited) {
		t.Errorf("after its end: %v, want %v", err, ErrUninhabited)
	}
}

// starved calls f with one descriptor left to the process.
func starved(t *testing.T, f func() (*os.File, error)) (*os.File, error) {
	t.Helper()
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	free, err := os.Open("/dev/null")
	must(t, err)
	few := limit
	few.Cur = uint64(free.Fd()) + 1
	must(t, free.Close())
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &few))
	defer func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }()
	return f()
}

// TestNetnsMounts: of a mountinfo only the files that keep network namespaces count,
// with their names as they are.
func TestNetnsMounts(t *testing.T) {
	const text = `36 35 0:4 net:[4026532281] /run/netns/blue rw shared:7 - nsfs nsfs rw
37 35 0:4 mnt:[4026532282] /run/snapd/ns/x.mnt rw - nsfs nsfs rw
38 35 0:4 net:[4026532283] /run/net\040ns/a\134b rw - nsfs nsfs rw
39 35 8:1 /net:[1] /mnt rw,relatime shared:1 - ext4 /dev/sda1 rw
`
	got := netnsMounts(text)
	if want := []string{"/run/netns/blue", `/run/net ns/a\b`}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
