package capture

import (
	"os"
	"slices"
	"testing"
)

// TestListeners: our listeners are told from those of a stranger on our ports.
func TestListeners(t *testing.T) {
	w := newWorld(t, rewrite)
	look := func() (found []Listener) {
		t.Helper()
		var err error
		w.host.Do(func() { found, err = Listeners(w.config.PinDir, w.config.Listen) })
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	check := func(when string, tagged bool) {
		t.Helper()
		found := look()
		if len(found) != len(w.config.Listen) {
			t.Fatalf("%s: %v, want %v", when, found, w.config.Listen)
		}
		exe, _ := os.Executable()
		for i, l := range found {
			if want := (Listener{w.config.Listen[i], os.Getpid(), exe, tagged}); l != want {
				t.Errorf("%s: %+v, want %+v", when, l, want)
			}
		}
	}
	check("ours", true)
	w.leave()
	if found := look(); len(found) != 0 {
		t.Errorf("nobody listens: %v", found)
	}
	w.squat()
	check("a stranger", false)
}

// TestFrameSenders: who is in scope and may send frames by any of its threads, and
// nobody else, by the pins as by the Capture.
func TestFrameSenders(t *testing.T) {
	w := newWorld(t, rewrite)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	without := []step{{Do: "socket"}, {Do: "unraw"}, {Do: "exec", Addr: self}}
	want := map[int]bool{
		w.stay(w.cgroup):                   true,
		w.stay(w.cgroup, step{Do: "drop"}): true, // its other threads have not
		w.stay(w.cgroup, without...):       false,
		w.stay(w.outside):                  false,
	}
	found, err := FrameSenders("", w.config.PinDir)
	if err != nil {
		t.Fatal(err)
	}
	if same, err := w.capture.FrameSenders(); err != nil || !slices.Equal(same, found) {
		t.Errorf("the Capture says %v, %v; the pins say %v", same, err, found)
	}
	for pid, want := range want {
		if got := slices.ContainsFunc(found, func(p Workload) bool { return p.PID == pid }); got != want {
			t.Errorf("process %d: listed %v, want %v", pid, got, want)
		}
	}
}

// stay starts a workload that has done these steps and stays until the test ends.
func (w *world) stay(cgroup string, steps ...step) (pid int) {
	w.t.Helper()
	cmd, out, goOn := w.begin(cgroup, append(steps, step{Do: "self"}, step{Do: "pause"}))
	w.t.Cleanup(func() { goOn.Close(); cmd.Wait() })
	for {
		r, err := readResult(out)
		if err != nil || r.Err != "" {
			w.t.Fatalf("%+v, %v", r, err)
		}
		if r.Do == "self" {
			return cmd.Process.Pid
		}
	}
}
