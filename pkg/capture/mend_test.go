package capture

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// TestMend: whatever others take away of the pinned state is found, and put back.
func TestMend(t *testing.T) {
	for name, harm := range map[string]func(*world){
		"a link detached":    func(w *world) { w.sever("connect4") },
		"all links detached": (*world).severAll,
		"a fence detached":   func(w *world) { w.sever(fenceOf(w.t, w.cgroup)) },
		"a fence unpinned":   func(w *world) { os.Remove(w.pin(fenceOf(w.t, w.cgroup))) },
		"a link unpinned":    func(w *world) { os.Remove(w.pin("connect4")) },
		"a map unpinned":     func(w *world) { os.Remove(w.config.PinDir + "/scopes") },
		"all wiped":          func(w *world) { os.RemoveAll(w.config.PinDir) },
	} {
		t.Run(name, func(t *testing.T) { testMend(t, harm) })
	}
}

func testMend(t *testing.T, harm func(*world)) {
	w := newWorld(t, rewrite)
	if broken := w.capture.Broken(); len(broken) != 0 {
		t.Fatalf("at first: %q", broken)
	}
	harm(w)
	if broken := w.capture.Broken(); len(broken) == 0 {
		t.Fatal("nothing is found broken")
	}
	if err := w.capture.Mend(); err != nil {
		t.Fatal(err)
	}
	if broken := w.capture.Broken(); len(broken) != 0 {
		t.Errorf("mended: %q", broken)
	}
	for _, addr := range []string{server4, server6} {
		if got := w.answer(w.cgroup, addr); got != "captured "+addr {
			t.Errorf("mended, %s: %q", addr, got)
		}
	}
	if _, err := Open(w.config); !errors.Is(err, ErrInUse) {
		t.Errorf("somebody else opens it: %v, want %v", err, ErrInUse)
	}
	w.leave() // what is pinned now answers without us, and can be taken over
	if got := w.answer(w.cgroup, server4); got != refused {
		t.Errorf("without us: %q", got)
	}
	w.relisten()
	w.open()
	if got := w.answer(w.cgroup, server4); got != "captured "+server4 {
		t.Errorf("taken over: %q", got)
	}
}

// severAll detaches all of our links but those of tracepoints, which cannot be.
func (w *world) severAll() {
	w.t.Helper()
	for _, h := range hooks(&outwardenPrograms{}) {
		if h.tracepoint == "" {
			w.sever(h.name)
		}
	}
}

// fenceOf names the hook that fences a cgroup.
func fenceOf(t testing.TB, cgroup string) string {
	t.Helper()
	id, err := cgroupID(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(filepath.Base(fencePin("", id)), linkPrefix)
}

// TestScopeGone: a cgroup that goes takes its fence along, and nobody has broken
// anything; nor is there anything in the way of the next one of that name.
func TestScopeGone(t *testing.T) {
	w := newWorld(t, rewrite)
	unit := netnstest.Subgroup(t, w.outside, "unit")
	if err := w.capture.AddScope(unit); err != nil {
		t.Fatal(err)
	}
	fence := fenceOf(t, unit)
	if err := os.Remove(unit); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the kernel has detached it", func() bool { return errors.Is(attachedAt(w.pin(fence)), ErrSevered) })
	if broken := w.capture.Broken(); len(broken) != 0 {
		t.Errorf("broken: %q", broken)
	}
	w.attached()
	w.sever("connect4")
	if err := w.capture.Mend(); err != nil {
		t.Errorf("mend: %v", err)
	}
	if err := os.Mkdir(unit, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := w.capture.AddScope(unit); err != nil {
		t.Fatal(err)
	}
	if broken := w.capture.Broken(); len(broken) != 0 {
		t.Errorf("one of the same name: %q", broken)
	}
	if got := w.answer(unit, server4); got != "captured "+server4 {
		t.Errorf("one of the same name: %q", got)
	}
}

// TestScopeGoesMeanwhile: a cgroup that goes between the look for it and the fence
// is in nobody's way.
func TestScopeGoesMeanwhile(t *testing.T) {
	w := newWorld(t, rewrite)
	unit := netnstest.Subgroup(t, w.outside, "unit")
	id, err := cgroupID(unit)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(unit); err != nil {
		t.Fatal(err)
	}
	if err := w.capture.raiseFences(map[uint64]string{id: unit}); err != nil {
		t.Error(err)
	}
	if w.capture.fences[id] != nil {
		t.Error("what is gone is fenced")
	}
}

// TestMendOfTheWhole: where nothing is broken any more the programs stay, which may
// be a successor's by now.
func TestMendOfTheWhole(t *testing.T) {
	w := newWorld(t, rewrite)
	pin := w.pin("connect4")
	before := pinnedProgram(pin)
	if err := w.capture.Mend(); err != nil {
		t.Fatal(err)
	}
	if after := pinnedProgram(pin); before == 0 || after != before {
		t.Errorf("program %d stands where %d stood", after, before)
	}
}

// TestMendNAT: the hook that backend nft alone has is looked after like the others.
func TestMendNAT(t *testing.T) {
	w := newWorld(t, nft)
	for name, harm := range map[string]func(){
		"detached": func() { w.sever("nat") },
		"unpinned": func() { os.Remove(w.pin("nat")) },
	} {
		harm()
		if len(w.capture.Broken()) != 1 {
			t.Errorf("%s: found broken: %q, want one", name, w.capture.Broken())
		}
		if err := w.capture.Mend(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if broken := w.capture.Broken(); len(broken) != 0 {
			t.Errorf("%s, mended: %q", name, broken)
		}
	}
}

// TestMendFails: after an attempt that failed half way the next one finds every
// link in its place.
func TestMendFails(t *testing.T) {
	w := newWorld(t, rewrite)
	pin := w.pin("getpeername4")
	if err := errors.Join(os.Remove(pin), os.Mkdir(pin, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := w.capture.Mend(); err == nil {
		t.Fatal("mended what is no link")
	}
	if got, want := len(w.capture.links), len(hooks(&outwardenPrograms{})); got != want {
		t.Errorf("%d links are held, want %d", got, want)
	}
	if err := os.RemoveAll(w.config.PinDir); err != nil {
		t.Fatal(err)
	}
	if err := w.capture.Mend(); err != nil {
		t.Fatal(err)
	}
	if broken := w.capture.Broken(); len(broken) != 0 {
		t.Errorf("mended: %q", broken)
	}
	if got := w.answer(w.cgroup, server4); got != "captured "+server4 {
		t.Errorf("mended: %q", got)
	}
}

// TestFenceLeft: what a successor that failed has fenced does not stand in our way.
func TestFenceLeft(t *testing.T) {
	w := newWorld(t, rewrite)
	pin := w.pin(fenceOf(t, w.outside))
	l, err := attachCgroup(w.outside, ebpf.AttachCGroupInetEgress, w.capture.fence, pin)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := w.capture.AddScope(w.outside); err != nil {
		t.Fatal(err)
	}
	if got := w.answer(w.outside, server4); got != "captured "+server4 {
		t.Errorf("in scope: %q", got)
	}
	if err := w.capture.RemoveScope(w.outside); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(pin); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("out of scope: %v, want the pin gone", err)
	}
}

// TestBrokenByNobody: who has no descriptor left to look by sees nothing, and nobody
// has done that.
func TestBrokenByNobody(t *testing.T) {
	w := newWorld(t, nft)
	var broken []string
	withoutDescriptors(t, func() { broken = w.capture.Broken() })
	if len(broken) != 0 {
		t.Errorf("broken: %q", broken)
	}
}

// withoutDescriptors calls f where no file can be opened beside those that are.
func withoutDescriptors(t *testing.T, f func()) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	f()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
}
