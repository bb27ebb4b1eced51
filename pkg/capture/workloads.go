package capture

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
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

// RawWorkloads lists the processes in the scope pinned in pinDir that hold
// CAP_NET_RAW: packet sockets pass below the hooks, so they can send what no
// hook sees. The root is the cgroup2 mount, found if empty. Processes of the
// kernel, and those that end meanwhile, are left out. It needs no daemon.
func RawWorkloads(root, pinDir string) ([]Workload, error) {
	if root == "" {
		var err error
		if root, err = cgroupMount(); err != nil {
			return nil, err
		}
	}
	scope, err := pinnedScope(root, pinDir)
	if err != nil {
		return nil, err
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var found []Workload
	for _, dir := range processes {
		exe, err := os.Readlink(dir + "/exe")
		if err != nil || !scope.includes(dir) || !canSendRaw(dir) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(dir))
		found = append(found, Workload{pid, exe})
	}
	return found, nil
}

// scopeTable is a pinned scope, and what it comes to for each cgroup.
type scopeTable struct {
	root  string
	says  map[uint64]uint32
	known map[string]bool // cgroup path -> in scope
}

func pinnedScope(root, pinDir string) (*scopeTable, error) {
	m, err := ebpf.LoadPinnedMap(filepath.Join(pinDir, "scopes"), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("open the pinned scope: %w", err)
	}
	defer m.Close()
	t := &scopeTable{root, map[uint64]uint32{}, map[string]bool{}}
	var id uint64
	var says uint32
	entries := m.Iterate()
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

// canSendRaw reads the effective capabilities.
func canSendRaw(process string) bool {
	f, err := os.Open(process + "/status")
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if mask, ok := strings.CutPrefix(lines.Text(), "CapEff:"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			return err == nil && bits&(1<<unix.CAP_NET_RAW) != 0
		}
	}
	return false
}
