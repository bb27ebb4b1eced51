package capture

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ErrBlocked is the error of Open where another program has a hook to itself.
var ErrBlocked = errors.New("another BPF program has this hook to itself")

// How a program is attached to a cgroup.
const (
	Multi     = "multi"     // beside others, as we are
	Override  = "override"  // alone, and a program further down replaces it
	Exclusive = "exclusive" // alone: nobody else may attach there or below
)

// Attachment is a program that stands at a hook which we use too.
type Attachment struct {
	Hook    string `json:"hook"`   // as our pins are named: connect4, sendmsg6, ...
	Cgroup  string `json:"cgroup"` // the directory
	Program uint32 `json:"program"`
	Name    string `json:"name,omitempty"` // up to 15 bytes, as whoever loaded it said
	Mode    string `json:"mode"`           // Multi, Override or Exclusive
}

func (a Attachment) String() string {
	return fmt.Sprintf("%s %s %s: program %d %q", a.Cgroup, a.Hook, a.Mode, a.Program, a.Name)
}

// Blocks reports whether nobody can attach beside this program.
func (a Attachment) Blocks() bool { return a.Mode != Multi }

// Attachments lists the programs at our hooks, on every cgroup below the
// cgroup2 mount (found if root is empty), but for those of the links pinned in
// pinDir. What a cgroup that goes meanwhile had is left out.
func Attachments(root, pinDir string) ([]Attachment, error) {
	if root == "" {
		var err error
		if root, err = cgroupMount(); err != nil {
			return nil, err
		}
	}
	ours := pinnedPrograms(pinDir)
	var found []Attachment
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return skipGone(err)
		}
		at, err := attachmentsAt(path)
		for _, a := range at {
			if !ours[ebpf.ProgramID(a.Program)] {
				found = append(found, a)
			}
		}
		return skipGone(err)
	})
	return found, err
}

func skipGone(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// places are the cgroup hooks at which programs of ours stand: those of the
// root, and the one of fences and of backend nft.
func places() []hook {
	list := slices.DeleteFunc(hooks(&outwardenPrograms{}), func(h hook) bool { return h.tracepoint != "" })
	return append(list, egress(nil))
}

// attachmentsAt lists the programs at our hooks on one cgroup.
func attachmentsAt(cgroup string) (found []Attachment, err error) {
	for _, h := range places() {
		at, err := h.standing(cgroup)
		if err != nil {
			return nil, err
		}
		found = append(found, at...)
	}
	return found, nil
}

// standing lists the programs at one hook of a cgroup.
func (h hook) standing(cgroup string) (found []Attachment, err error) {
	dir, err := os.Open(cgroup)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	programs, flags, err := query(int(dir.Fd()), h.attach)
	if err != nil {
		return nil, fmt.Errorf("query %s on %s: %w", h.name, cgroup, err)
	}
	for _, id := range programs {
		found = append(found, Attachment{Hook: h.name, Cgroup: cgroup, Program: id, Name: programName(id), Mode: modeOf(flags)})
	}
	return found, nil
}

// modeOf reads BPF_F_ALLOW_OVERRIDE and BPF_F_ALLOW_MULTI.
func modeOf(flags uint32) string {
	switch {
	case flags&unix.BPF_F_ALLOW_MULTI != 0:
		return Multi
	case flags&unix.BPF_F_ALLOW_OVERRIDE != 0:
		return Override
	}
	return Exclusive
}

// programName is empty for a program that is gone, or has no name.
func programName(id uint32) string {
	p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return ""
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return ""
	}
	return info.Name
}

// query is BPF_PROG_QUERY, by hand because the flags of the attachment matter
// here, and the library keeps them to itself.
func query(cgroup int, at ebpf.AttachType) (programs []uint32, flags uint32, err error) {
	const most = 64 // programs that a cgroup takes at one hook
	programs = make([]uint32, most)
	attr := struct {
		target, attach, query, flags uint32
		programs                     unsafe.Pointer
		count, _                     uint32
		programFlags                 uint64
	}{target: uint32(cgroup), attach: uint32(at), programs: unsafe.Pointer(&programs[0]), count: most}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_QUERY, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return nil, 0, errno
	}
	return programs[:attr.count], attr.flags, nil
}

// blocked names the program that keeps ours from a hook of a cgroup, where there
// is one; it stands there or above.
func (h hook) blocked(cgroup string, err error) error {
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	for dir := cgroup; ; dir = filepath.Dir(dir) {
		standing, lookErr := h.standing(dir)
		if lookErr != nil { // above the tree
			return err
		}
		for _, a := range standing {
			if a.Blocks() {
				return fmt.Errorf("%w: %s, held by %s", ErrBlocked, a, orNobody(Holders(a.Program)[a.Program]))
			}
		}
	}
}

func orNobody(holders []Holder) string {
	if len(holders) == 0 {
		return "no process that is left, only by the cgroup itself"
	}
	names := make([]string, len(holders))
	for i, h := range holders {
		names[i] = h.String()
	}
	return strings.Join(names, ", ")
}
