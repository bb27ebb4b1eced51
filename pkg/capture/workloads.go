package capture

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Workload is a process in scope.
type Workload struct {
	PID int    `json:"pid"`
	Exe string `json:"exe,omitempty"`
}

// FrameSenders lists the processes in the scope pinned in pinDir that may send
// frames of their own making past IP (CAP_NET_RAW): packet sockets meet no hook
// of a cgroup, so what they send is neither refused nor recorded. The root is the
// cgroup2 mount, found if empty. Threads of the kernel, and processes that end
// meanwhile, are left out. It needs no daemon.
func FrameSenders(root, pinDir string) ([]Workload, error) {
	if root == "" {
		var err error
		if root, err = cgroupMount(); err != nil {
			return nil, err
		}
	}
	scopes, err := ebpf.LoadPinnedMap(filepath.Join(pinDir, "scopes"), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("open the pinned scope: %w", err)
	}
	defer scopes.Close()
	return frameSenders(root, scopes)
}

// FrameSenders is the same for the scope of a Capture, wherever its pins are.
func (c *Capture) FrameSenders() ([]Workload, error) {
	return frameSenders(c.config.CgroupRoot, c.maps.Scopes)
}

func frameSenders(root string, scopes *ebpf.Map) (found []Workload, err error) {
	scope, err := readScope(root, scopes)
	if err != nil {
		return nil, err
	}
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		proc := procDir(pid)
		thread := living(proc)
		exe, err := os.Readlink(thread + "/exe")
		if err == nil && scope.includes(thread) && mayNetRaw(proc) {
			found = append(found, Workload{int(pid), exe})
		}
	}
	return found, nil
}

// scopeTable is what the hooks know of the scope, and what it comes to for each cgroup.
type scopeTable struct {
	root  string
	says  map[uint64]uint32
	known map[string]bool // cgroup path -> in scope
}

func readScope(root string, scopes *ebpf.Map) (*scopeTable, error) {
	t := &scopeTable{root, map[uint64]uint32{}, map[string]bool{}}
	var id uint64
	var says uint32
	entries := scopes.Iterate()
	for entries.Next(&id, &says) {
		t.says[id] = says
	}
	return t, entries.Err()
}

// includes tells whether the process of a directory in /proc is in scope.
func (t *scopeTable) includes(process string) bool {
	b, err := os.ReadFile(process + "/cgroup")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return t.of(path)
		}
	}
	return false
}

// of: the nearest ancestor that says anything decides, as in the kernel.
func (t *scopeTable) of(path string) bool {
	if in, ok := t.known[path]; ok {
		return in
	}
	id, err := cgroupID(filepath.Join(t.root, path))
	says, said := t.says[id]
	in := said && says == scopeInclude
	if (err != nil || !said) && path != "/" {
		in = t.of(filepath.Dir(path))
	}
	t.known[path] = in
	return in
}

// mayNetRaw reports whether any thread of a process is permitted CAP_NET_RAW: each has
// capabilities of its own, and may take up what it is permitted. One that has left has none.
func mayNetRaw(proc string) bool {
	threads, _ := filepath.Glob(proc + "/task/*/status")
	return slices.ContainsFunc(threads, permitsNetRaw)
}

func permitsNetRaw(status string) bool {
	f, err := os.Open(status)
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if digits, ok := strings.CutPrefix(lines.Text(), "CapPrm:\t"); ok {
			mask, err := strconv.ParseUint(digits, 16, 64)
			return err == nil && mask&(1<<unix.CAP_NET_RAW) != 0
		}
	}
	return false
}
