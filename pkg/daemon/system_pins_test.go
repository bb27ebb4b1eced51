package daemon_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// A daemon that pins its hooks elsewhere than the one before it does not leave those of
// that one to refuse its workloads; doctor and detach know of them meanwhile.
func TestSystemOtherPins(t *testing.T) {
	w := newWorld(t)
	good := w.read("outwarden.yaml")
	pinned := func(dir string) int {
		t.Helper()
		pins, err := filepath.Glob(dir + "/*")
		must(t, err)
		return len(pins)
	}
	moveTo := func(dir string) {
		w.write("outwarden.yaml", strings.Replace(good, "pin_dir: "+w.pins, "pin_dir: "+dir, 1))
	}
	second, third := w.pins+"-second", w.pins+"-third"
	w.daemon().stop()
	held := w.pinned()
	moveTo(second)
	if ill := w.doctor(); len(ill["daemon"]) != 1 || !strings.Contains(ill["daemon"][0].What, "hooks in "+w.pins+" ") {
		t.Errorf("before the start elsewhere: %+v", ill)
	}
	d := w.daemon()
	if r := w.do(w.work, "env", w.trusting(), program("client"), "get", partnerURL); r.code != 0 {
		t.Errorf("a call by the hooks elsewhere: %v", r)
	}
	w.gone(held)
	if n := pinned(w.pins); n != 0 {
		t.Errorf("%d pins are left in %s", n, w.pins)
	}
	d.stop()
	moveTo(third)
	if r := w.outwarden("detach"); r.code != 0 || !strings.Contains(r.stdout, "removed directory "+second) {
		t.Errorf("detach by a configuration with other pins: %v", r)
	}
	if n := pinned(second); n != 0 {
		t.Errorf("%d pins are left in %s", n, second)
	}
	if r := w.do(w.work, program("client"), "connect", partnerAddr); r.code != 0 {
		t.Errorf("a connect of a detached host: %v", r)
	}
	moveTo(w.pins)
}
