package capture

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// TestOwnMemory: what the hooks keep beside the sockets of workloads is charged to
// the memory cgroup of whoever made the map, which is ours. That we have more than
// we should have is no workload's affair; where we cannot have more, which newer
// kernels heed, its connect() is refused by the fail policy, and never passes.
func TestOwnMemory(t *testing.T) {
	const sockets, cgroups = 2000, 500
	for _, limit := range []struct{ name, v2, v1 string }{
		{"MemoryHigh", "memory.high", "memory.soft_limit_in_bytes"},
		{"MemoryMax", "memory.max", "memory.limit_in_bytes"},
	} {
		t.Run(limit.name, func(t *testing.T) {
			ours := netnstest.Limited(t, "memory")
			leave := enterMemory(t, ours)
			w := newWorld(t, rewrite)
			leave()
			fill(t, ours, limit.v2, limit.v1)
			got := w.run(w.cgroup, step{Do: "crowd", Addr: server4, Count: sockets})
			var refused int
			if _, err := fmt.Sscanf(got[0].Text, "%d", &refused); err != nil || got[0].Err != "" {
				t.Fatalf("workload: %+v, %v", got, err)
			}
			full, redirected := w.counter("map_full"), w.counter("redirected")
			if full != uint64(refused) || redirected != uint64(sockets-refused) {
				t.Errorf("%d of %d refused; counted: %d for want of room, %d redirected", refused, sockets, full, redirected)
			}
			unnoted := w.unnoted(cgroups)
			if n := w.counter("map_full"); n != full+uint64(unnoted) {
				t.Errorf("%d of %d cgroups were made unseen; counted: %d", unnoted, cgroups, n-full)
			}
			if refused+unnoted == 0 {
				return
			}
			if limit.name == "MemoryHigh" {
				t.Errorf("%d of %d sockets, %d of %d cgroups refused", refused, sockets, unnoted, cgroups)
			}
			netnstest.Refused(t, fmt.Sprintf("at MemoryMax, room for %d of %d sockets, %d of %d cgroups", refused, sockets, unnoted, cgroups), unix.ENOMEM)
		})
	}
}

// enterMemory moves the test into a memory cgroup of netnstest.Limited, until it leaves.
func enterMemory(t *testing.T, dir string) (leave func()) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	home := ""
	for line := range strings.Lines(string(b)) {
		_, kind, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, _ := strings.Cut(kind, ":")
		if controllers == "memory" || controllers == "" && home == "" {
			home = filepath.Join(filepath.Dir(dir), path)
		}
	}
	enter := func(dir string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	leave = func() { t.Helper(); enter(home) }
	t.Cleanup(leave)
	enter(dir)
	return leave
}

// fill sets a limit of a cgroup, in which nobody is, to what it has.
func fill(t *testing.T, dir, v2, v1 string) {
	t.Helper()
	limit, usage := v2, "memory.current"
	if _, err := os.Stat(filepath.Join(dir, v2)); err != nil {
		limit, usage = v1, "memory.usage_in_bytes"
		if err := os.WriteFile(filepath.Join(dir, "memory.force_empty"), []byte("0"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	has, err := os.ReadFile(filepath.Join(dir, usage))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, limit), has, 0o644); err != nil {
		t.Fatal(err)
	}
}

// unnoted makes a cgroup that is awaited so often, and counts how often the kernel
// side did not take it into the scope.
func (w *world) unnoted(times int) (missing int) {
	w.t.Helper()
	dir := filepath.Join(w.outside, "named")
	if _, err := w.capture.SetScope(Names{Paths: []string{dir}}, Names{}); err != nil {
		w.t.Fatal(err)
	}
	for range times {
		if err := os.Mkdir(dir, 0o755); err != nil {
			w.t.Fatal(err)
		}
		id, err := cgroupID(dir)
		if err != nil {
			w.t.Fatal(err)
		}
		var says uint32
		if w.capture.maps.Scopes.Lookup(id, &says) != nil {
			missing++
		}
		if err := os.Remove(dir); err != nil {
			w.t.Fatal(err)
		}
	}
	return missing
}
