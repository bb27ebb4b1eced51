package capture

import (
	"errors"
	"os"
	"testing"
)

// TestMend: whatever others take away of the pinned state is found, and put back.
func TestMend(t *testing.T) {
	for name, harm := range map[string]func(*world){
		"a link detached":    func(w *world) { w.sever("connect4") },
		"all links detached": (*world).severAll,
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
