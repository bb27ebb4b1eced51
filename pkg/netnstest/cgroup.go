package netnstest

import (
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Cgroup makes a cgroup directly under the cgroup2 mount and returns its path
// in the file system. When the test ends the processes left in it are killed
// and it is removed. It needs root.
func Cgroup(t testing.TB) string {
	t.Helper()
	RequireRoot(t)
	dir, err := os.MkdirTemp(CgroupMount(t), "outwarden-test-")
	if err != nil {
		t.Fatalf("make a cgroup: %v", err)
	}
	t.Cleanup(func() { remove(t, dir) })
	return dir
}

// Subgroup makes a cgroup inside one that [Cgroup] made.
func Subgroup(t testing.TB, parent, name string) string {
	t.Helper()
	dir := filepath.Join(parent, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatalf("make a cgroup: %v", err)
	}
	t.Cleanup(func() { remove(t, dir) })
	return dir
}

// Limited makes a cgroup that has a controller, memory or pids, and returns its
// path: of cgroup v1 where that has it, as on hybrid hosts, else of cgroup2. A
// process enters it by its cgroup.procs.
func Limited(t testing.TB, controller string) string {
	t.Helper()
	RequireRoot(t)
	for mount, kind := range mounts(t) {
		options := kind[strings.LastIndexByte(kind, ' ')+1:]
		if !strings.HasPrefix(kind, "cgroup ") || !slices.Contains(strings.Split(options, ","), controller) {
			continue
		}
		dir, err := os.MkdirTemp(mount, "outwarden-test-")
		if err != nil {
			t.Fatalf("make a cgroup: %v", err)
		}
		t.Cleanup(func() { remove(t, dir) })
		return dir
	}
	if err := os.WriteFile(filepath.Join(CgroupMount(t), "cgroup.subtree_control"), []byte("+"+controller), 0o644); err != nil {
		t.Fatalf("no cgroup has the controller %s: %v", controller, err)
	}
	return Cgroup(t)
}

// Join moves the whole test process into a cgroup until the test ends.
func Join(t testing.TB, cgroup string) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	_, home, ok := strings.Cut("\n"+string(b), "\n0::")
	if !ok {
		t.Fatal("no cgroup2 line in /proc/self/cgroup")
	}
	home, _, _ = strings.Cut(home, "\n")
	enter := func(dir string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0o644); err != nil {
			t.Fatalf("enter a cgroup: %v", err)
		}
	}
	enter(cgroup)
	t.Cleanup(func() { enter(filepath.Join(CgroupMount(t), home)) })
}

// CgroupMount is where cgroup2 is mounted; on hybrid hosts not at /sys/fs/cgroup.
func CgroupMount(t testing.TB) string {
	t.Helper()
	for mount, kind := range mounts(t) {
		if strings.HasPrefix(kind, "cgroup2 ") {
			return mount
		}
	}
	t.Fatal("no cgroup2 mount in /proc/self/mountinfo")
	return ""
}

// mounts gives every mount point with its file system: type, source, options.
func mounts(t testing.TB) iter.Seq2[string, string] {
	return func(yield func(mount, kind string) bool) {
		b, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			mount, kind, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
			fields := strings.Fields(mount)
			if ok && len(fields) > 4 && !yield(fields[4], kind) {
				return
			}
		}
	}
}

// remove kills what is left in a cgroup and removes it. A killed process
// leaves its cgroup a moment later, hence the patience.
func remove(t testing.TB, dir string) {
	os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0o644) // since 5.14; elsewhere the removal fails and says so
	var err error
	for range 500 {
		if err = os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("remove cgroup: %v", err)
}
