package capture

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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

// Holders finds who keeps each of these programs, in one look at every process
// and at the BPF file system at its usual place. A program attached without a link
// needs nobody: its cgroup keeps it, and then there may be none.
func Holders(programs ...uint32) map[uint32][]Holder {
	held := map[uint32][]Holder{}
	note := func(program uint32, by Holder) {
		if slices.Contains(programs, program) && !slices.Contains(held[program], by) {
			held[program] = append(held[program], by)
		}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		for _, program := range programsOf(dir) {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			exe, _ := os.Readlink(dir + "/exe") // what ends meanwhile has none
			note(program, Holder{PID: pid, Exe: exe})
		}
	}
	_ = filepath.WalkDir(bpffs, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			note(uint32(pinnedProgram(path)), Holder{Pin: path})
		}
		return nil
	})
	return held
}

// programsOf are the programs that a process has descriptors of, or of links to them.
func programsOf(process string) (found []uint32) {
	descriptors, err := os.ReadDir(process + "/fd")
	if err != nil {
		return nil
	}
	for _, d := range descriptors {
		what, err := os.Readlink(filepath.Join(process, "fd", d.Name()))
		if err != nil || !strings.HasPrefix(what, "anon_inode:bpf") {
			continue
		}
		if program, ok := describedProgram(filepath.Join(process, "fdinfo", d.Name())); ok {
			found = append(found, program)
		}
	}
	return found
}

// describedProgram is the program that a descriptor is of, or of a link to it.
func describedProgram(fdinfo string) (uint32, bool) {
	b, err := os.ReadFile(fdinfo)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if id, ok := strings.CutPrefix(line, "prog_id:"); ok {
			program, err := strconv.ParseUint(strings.TrimSpace(id), 10, 32)
			return uint32(program), err == nil
		}
	}
	return 0, false
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
