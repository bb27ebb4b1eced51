package capture

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Holder keeps a program alive: a process with a descriptor of it or of a link
// to it, or a pin.
type Holder struct {
	PID int    `json:"pid,omitempty"`
	Exe string `json:"exe,omitempty"`
	Pin string `json:"pin,omitempty"`
}

func (h Holder) String() string {
	if h.Pin != "" {
		return "the pin " + h.Pin
	}
	return fmt.Sprintf("%s (pid %d)", h.Exe, h.PID)
}

// Holders finds who keeps a program. A program attached without a link needs
// nobody: its cgroup keeps it, and then there may be none.
func Holders(program uint32) []Holder {
	return append(processHolders(program), pinHolders(program)...)
}

// processHolders looks into the descriptors of every process. What ends
// meanwhile is no holder.
func processHolders(program uint32) (found []Holder) {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if holds(dir, program) {
			exe, _ := os.Readlink(dir + "/exe")
			found = append(found, Holder{PID: pid, Exe: exe})
		}
	}
	return found
}

func holds(process string, program uint32) bool {
	descriptors, err := os.ReadDir(process + "/fd")
	if err != nil {
		return false
	}
	for _, d := range descriptors {
		what, err := os.Readlink(filepath.Join(process, "fd", d.Name()))
		if err == nil && strings.HasPrefix(what, "anon_inode:bpf") && describes(filepath.Join(process, "fdinfo", d.Name()), program) {
			return true
		}
	}
	return false
}

// describes reports whether a descriptor is that of a program, or of a link to it.
func describes(fdinfo string, program uint32) bool {
	b, err := os.ReadFile(fdinfo)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if id, ok := strings.CutPrefix(line, "prog_id:"); ok {
			return strings.TrimSpace(id) == strconv.FormatUint(uint64(program), 10)
		}
	}
	return false
}

// pinHolders looks through the BPF file system at its usual place.
func pinHolders(program uint32) (found []Holder) {
	_ = filepath.WalkDir(bpffs, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && pinnedProgram(path) == ebpf.ProgramID(program) {
			found = append(found, Holder{Pin: path})
		}
		return nil
	})
	return found
}

// pinnedProgram is the program behind a pin, of itself or of a link to it; zero
// for every other pin.
func pinnedProgram(path string) ebpf.ProgramID {
	if l, err := link.LoadPinnedLink(path, nil); err == nil {
		defer l.Close()
		if info, err := l.Info(); err == nil {
			return info.Program
		}
	}
	p, err := ebpf.LoadPinnedProgram(path, nil)
	if err != nil {
		return 0
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return 0
	}
	id, _ := info.ID()
	return id
}

// pinnedPrograms are the programs of the links pinned in dir.
func pinnedPrograms(dir string) map[ebpf.ProgramID]bool {
	names, _ := pins(dir) // a directory that is not there pins nothing
	ours := map[ebpf.ProgramID]bool{}
	for _, name := range names {
		if strings.HasPrefix(name, linkPrefix) {
			ours[pinnedProgram(filepath.Join(dir, name))] = true
		}
	}
	return ours
}
