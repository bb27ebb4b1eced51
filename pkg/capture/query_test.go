package capture

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// stranger is a BPF program of somebody else: it counts what comes by and lets all pass.
type stranger struct {
	t       *testing.T
	at      ebpf.AttachType
	program *ebpf.Program
	seen    *ebpf.Map
}

func newStranger(t *testing.T, at ebpf.AttachType) *stranger {
	t.Helper()
	netnstest.RequireRoot(t)
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	seen, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "stranger", Type: programType(at), AttachType: at, License: "GPL",
		Instructions: asm.Instructions{
			asm.StoreImm(asm.RFP, -4, 0, asm.Word),
			asm.LoadMapPtr(asm.R1, seen.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "pass"),
			asm.Mov.Imm(asm.R1, 1),
			asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
			asm.Mov.Imm(asm.R0, 1).WithSymbol("pass"),
			asm.Return(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &stranger{t, at, program, seen}
	t.Cleanup(func() { program.Close(); seen.Close() })
	return s
}

// attach attaches it to a cgroup in the way of before there were links, and
// gives what detaches it again.
func (s *stranger) attach(cgroup string, flags uint32) (detach func()) {
	s.t.Helper()
	dir, err := os.Open(cgroup)
	if err != nil {
		s.t.Fatal(err)
	}
	at := link.RawAttachProgramOptions{Target: int(dir.Fd()), Program: s.program, Attach: s.at, Flags: flags}
	if err := link.RawAttachProgram(at); err != nil {
		s.t.Fatal(err)
	}
	gone := false
	detach = func() {
		if gone {
			return
		}
		gone = true
		if err := link.RawDetachProgram(link.RawDetachProgramOptions{Target: at.Target, Program: s.program, Attach: at.Attach}); err != nil {
			s.t.Errorf("the stranger is not where it was: %v", err)
		}
		dir.Close()
	}
	s.t.Cleanup(detach)
	return detach
}

// count is how many calls it has seen.
func (s *stranger) count() (n uint64) {
	s.t.Helper()
	if err := s.seen.Lookup(uint32(0), &n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *stranger) id() uint32 {
	s.t.Helper()
	info, err := s.program.Info()
	if err != nil {
		s.t.Fatal(err)
	}
	id, _ := info.ID()
	return uint32(id)
}

// moveTo takes the hooks from the root cgroup to that of the world's workloads,
// where a test may stand beside them as it likes.
func (w *world) moveTo(cgroup string) {
	w.t.Helper()
	w.leave()
	if _, err := Detach(w.config.PinDir); err != nil {
		w.t.Fatal(err)
	}
	own := netnstest.Subgroup(w.t, cgroup, "own")
	netnstest.Join(w.t, own) // hooks there see our own sockets only if they are made there
	id, err := cgroupID(own)
	if err != nil {
		w.t.Fatal(err)
	}
	w.config.CgroupRoot, w.config.OwnCgroup = cgroup, id
	w.relisten()
}

// TestBlocked: where somebody has a hook to himself, Open fails, says who it is, and leaves him alone.
func TestBlocked(t *testing.T) {
	for mode, flags := range map[string]uint32{Exclusive: 0, Override: unix.BPF_F_ALLOW_OVERRIDE} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t, rewrite)
			w.moveTo(w.cgroup)
			s := newStranger(t, ebpf.AttachCGroupInet4Connect)
			s.attach(w.cgroup, flags)
			_, err := Open(w.config)
			s.named(err, "attach connect4", mode)
			if _, err := os.Stat(w.config.PinDir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("pins of a failed open: %v", err)
			}
			before := s.count()
			if got := w.answer(w.cgroup, server4); !strings.HasPrefix(got, "direct") || s.count() != before+1 {
				t.Errorf("afterwards: %q, and the stranger saw %d connects, want 1", got, s.count()-before)
			}
		})
	}
}

// TestBlockedBelow: a scope at or below whose cgroup somebody has the egress hook
// to himself cannot be fenced, so it is not taken, and the error says who it is.
func TestBlockedBelow(t *testing.T) {
	w := newWorld(t, rewrite)
	s := newStranger(t, ebpf.AttachCGroupInetEgress)
	detach := s.attach(w.outside, 0)
	below := netnstest.Subgroup(t, w.outside, "below")
	for _, dir := range []string{w.outside, below} {
		s.named(w.capture.AddScope(dir), "attach egress to "+dir+": ", w.outside+" egress exclusive")
		if got := w.answer(dir, server4); !strings.HasPrefix(got, "direct") {
			t.Errorf("%s is captured without its fence: %q", dir, got)
		}
	}
	detach()
	if err := w.capture.AddScope(below); err != nil {
		t.Error(err)
	}
	w.mustSend(below, refused)
}

// named checks that an error says that this program is in the way, and who holds it.
func (s *stranger) named(err error, says ...string) {
	s.t.Helper()
	if !errors.Is(err, ErrBlocked) {
		s.t.Fatalf("%v, want %v", err, ErrBlocked)
	}
	exe, _ := os.Executable()
	for _, want := range append(says, `"stranger"`, fmt.Sprintf("program %d", s.id()), fmt.Sprintf("%s (pid %d)", exe, os.Getpid())) {
		if !strings.Contains(err.Error(), want) {
			s.t.Errorf("error %q does not say %q", err, want)
		}
	}
}

// TestCoexistence: beside a program of somebody else that came before or after
// ours, on our cgroup or below, both work, over a restart of either, and when
// we leave the other stays.
func TestCoexistence(t *testing.T) {
	for _, first := range []bool{true, false} {
		for _, below := range []bool{false, true} {
			t.Run(fmt.Sprintf("before us %v, below us %v", first, below), func(t *testing.T) {
				testCoexistence(t, first, below)
			})
		}
	}
}

func testCoexistence(t *testing.T, first, below bool) {
	w := newWorld(t, rewrite)
	s, workloads := newStranger(t, ebpf.AttachCGroupInet4Connect), netnstest.Subgroup(t, w.cgroup, "workloads")
	place := w.cgroup
	if below {
		place = workloads
	}
	w.moveTo(w.cgroup)
	var detach func()
	if first {
		detach = s.attach(place, unix.BPF_F_ALLOW_MULTI)
	}
	w.open()
	if err := w.capture.AddScope(w.cgroup); err != nil {
		t.Fatal(err)
	}
	if !first {
		detach = s.attach(place, unix.BPF_F_ALLOW_MULTI)
	}
	check := func(when, want string) {
		t.Helper()
		before := s.count()
		if got := w.answer(workloads, server4); !strings.HasPrefix(got, want) || s.count() != before+1 {
			t.Errorf("%s: %q and %d connects seen by the stranger, want %s and 1", when, got, s.count()-before, want)
		}
	}
	check("at first", "captured")
	detach()
	s.attach(place, unix.BPF_F_ALLOW_MULTI)
	check("the stranger restarted", "captured")
	w.leave()
	check("we are dead", refused)
	w.relisten()
	w.open()
	check("we restarted", "captured")
	w.leave()
	if _, err := Detach(w.config.PinDir); err != nil {
		t.Fatal(err)
	}
	check("we are detached", "direct")
}

// TestAttachments: programs of others at our hooks are found on every cgroup, ours are left out.
func TestAttachments(t *testing.T) {
	w := newWorld(t, rewrite)
	s, sender := newStranger(t, ebpf.AttachCGroupInet4Connect), newStranger(t, ebpf.AttachCGroupInetEgress)
	s.attach(w.cgroup, unix.BPF_F_ALLOW_MULTI)
	s.attach(w.outside, 0)
	sender.attach(w.cgroup, unix.BPF_F_ALLOW_MULTI)
	got, err := Attachments("", w.config.PinDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []Attachment{
		{Hook: "connect4", Cgroup: w.cgroup, Program: s.id(), Name: "stranger", Mode: Multi},
		{Hook: "connect4", Cgroup: w.outside, Program: s.id(), Name: "stranger", Mode: Exclusive},
		{Hook: "egress", Cgroup: w.cgroup, Program: sender.id(), Name: "stranger", Mode: Multi},
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%v is not in %v", want, got)
		}
	}
	ours := pinnedPrograms(w.config.PinDir)
	if len(ours) < len(hooks(&outwardenPrograms{})) {
		t.Errorf("%d programs of ours", len(ours))
	}
	for _, a := range got {
		if ours[ebpf.ProgramID(a.Program)] {
			t.Errorf("%v is ours", a)
		}
	}
	if h := Holders(s.id(), sender.id())[s.id()]; len(h) != 1 || h[0].PID != os.Getpid() {
		t.Errorf("the stranger is held by %v, want this process", h)
	}
}

// TestHooks: a link that was detached is told from one that stands, and so is one that was unpinned.
func TestHooks(t *testing.T) {
	w := newWorld(t, rewrite)
	check := func(want map[string]error) {
		t.Helper()
		states, err := Hooks(w.config.PinDir)
		if err != nil || len(states) < len(hooks(&outwardenPrograms{})) {
			t.Fatalf("%d hooks, %v", len(states), err)
		}
		for _, s := range states {
			if !errors.Is(s.Err, want[s.Hook]) {
				t.Errorf("%s: %v, want %v", s.Hook, s.Err, want[s.Hook])
			}
		}
	}
	check(nil)
	w.sever("connect4")
	if err := os.Remove(w.pin("exec")); err != nil {
		t.Fatal(err)
	}
	check(map[string]error{"connect4": ErrSevered, "exec": ErrUnpinned})
	if _, err := Hooks(w.config.PinDir + "-none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func (w *world) pin(hook string) string { return w.config.PinDir + "/" + linkPrefix + hook }

// sever detaches one of our links behind our back, as `bpftool link detach` does.
func (w *world) sever(hook string) {
	w.t.Helper()
	l, err := link.LoadPinnedLink(w.pin(hook), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer l.Close()
	if err := l.Detach(); err != nil {
		w.t.Fatal(err)
	}
}
