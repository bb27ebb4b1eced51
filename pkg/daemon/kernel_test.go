package daemon_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands of bpf(2), as in linux/bpf.h.
const (
	bpfMapGetNextKey = 4
	bpfObjGet        = 7
	bpfProgGetNextID = 11
	bpfMapGetNextID  = 12
	bpfLinkGetNextID = 31
)

// object is one BPF program, map or link by its id, as "map 7".
type object string

// pinned lists what a world has pinned, and the programs behind its links.
func (w *world) pinned() []object {
	w.t.Helper()
	pins, err := filepath.Glob(w.pins + "*/*")
	must(w.t, err)
	var all []object
	for _, pin := range pins {
		all = append(all, objectsOf(w.t, pin)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// objectsOf asks the kernel what lies behind a pin.
func objectsOf(t testing.TB, pin string) (found []object) {
	t.Helper()
	fd := openPin(t, pin)
	defer unix.Close(fd)
	info, err := os.Open(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	must(t, err)
	defer info.Close()
	for lines := bufio.NewScanner(info); lines.Scan(); {
		for _, kind := range []string{"prog", "map", "link"} {
			if id, ok := strings.CutPrefix(lines.Text(), kind+"_id:\t"); ok {
				found = append(found, object(kind+" "+id))
			}
		}
	}
	return found
}

// openPin opens what lies behind a pin.
func openPin(t testing.TB, pin string) int {
	t.Helper()
	path, err := unix.BytePtrFromString(pin)
	must(t, err)
	attr := struct {
		path  *byte
		fd    uint32
		flags uint32
	}{path: path}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, bpfObjGet, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		t.Fatalf("open pin %s: %v", pin, errno)
	}
	return int(fd)
}

// keys lists those of a pinned map, each of that many bytes.
func (w *world) keys(name string, size int) (all [][]byte) {
	w.t.Helper()
	fd := openPin(w.t, w.pins+"/"+name)
	defer unix.Close(fd)
	attr := struct {
		fd, zero  uint32
		key, next *byte
		flags     uint64
	}{fd: uint32(fd)} // no key: before the first
	for {
		next := make([]byte, size)
		attr.next = &next[0]
		_, _, errno := unix.Syscall(unix.SYS_BPF, bpfMapGetNextKey, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		if errno == unix.ENOENT {
			return all
		}
		if errno != 0 {
			w.t.Fatalf("list %s: %v", name, errno)
		}
		all = append(all, next)
		attr.key = &next[0]
	}
}

// alive lists every BPF object of the machine.
func alive(t testing.TB) map[object]bool {
	t.Helper()
	all := map[object]bool{}
	for kind, command := range map[string]uintptr{"prog": bpfProgGetNextID, "map": bpfMapGetNextID, "link": bpfLinkGetNextID} {
		attr := struct{ start, next, flags uint32 }{}
		for {
			_, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
			if errno == unix.ENOENT {
				break
			}
			if errno != 0 {
				t.Fatalf("list %ss: %v", kind, errno)
			}
			attr.start = attr.next
			all[object(fmt.Sprint(kind, " ", attr.next))] = true
		}
	}
	return all
}

// gone waits until none of the objects lives: the kernel frees programs later.
func (w *world) gone(objects []object) {
	w.t.Helper()
	w.await("BPF objects are freed", func() bool {
		live := alive(w.t)
		return !slices.ContainsFunc(objects, func(o object) bool { return live[o] })
	})
}

// hostState is what detach must leave as it found it: addresses, rules, routes,
// tables, mounts, cgroups and pins, one in each line.
func (w *world) hostState() []string {
	w.t.Helper()
	var state string
	w.await("addresses are settled", func() bool {
		r := w.do(w.cgroup, "sh", "-c", `ip -o address; ip -o link; ip rule; ip -6 rule; ip route show table all
			ip -6 route show table all; ! command -v nft >/dev/null || nft list ruleset; cat /proc/self/mounts`)
		if r.code != 0 {
			w.t.Fatal(r)
		}
		state = r.stdout
		return !strings.Contains(state, "tentative") && !strings.Contains(state, "state DOWN")
	})
	lines := strings.Split(state, "\n")
	pins, err := filepath.Glob(w.pins + "*")
	must(w.t, err)
	lines = append(lines, pins...)
	must(w.t, filepath.WalkDir(w.cgroup, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			lines = append(lines, path)
		}
		return err
	}))
	return lines
}

// sameHost compares the host with what it was.
func (w *world) sameHost(before []string) {
	w.t.Helper()
	after := w.hostState()
	for _, line := range before {
		if !slices.Contains(after, line) {
			w.t.Errorf("gone from the host: %s", line)
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			w.t.Errorf("left behind: %s", line)
		}
	}
}
