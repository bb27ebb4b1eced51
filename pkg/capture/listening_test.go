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

// TestFrameSenders: who is in scope and may send frames, and nobody else, by the
// pins as by the Capture.
func TestFrameSenders(t *testing.T) {
	w := newWorld(t, rewrite)
	pids := map[string]int{}
	start := func(name, cgroup string, steps ...step) {
		t.Helper()
		in, goOn, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		exe, _ := os.Executable()
		cmd, out, err := w.start(cgroup, exe, in, append(steps, step{Do: "self"}, step{Do: "pause"}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { goOn.Close(); in.Close(); cmd.Wait() })
		for range len(steps) + 1 { // it is there once it has told who it is
			if _, err := readResult(out); err != nil {
				t.Fatal(err)
			}
		}
		pids[name] = cmd.Process.Pid
	}
	start("in scope", w.cgroup)
	start("in scope without the capability", w.cgroup, step{Do: "drop"})
	start("out of scope", w.outside)
	found, err := FrameSenders("", w.config.PinDir)
	if err != nil {
		t.Fatal(err)
	}
	if same, err := w.capture.FrameSenders(); err != nil || !slices.Equal(same, found) {
		t.Errorf("the Capture says %v, %v; the pins say %v", same, err, found)
	}
	for name, pid := range pids {
		got := slices.ContainsFunc(found, func(p Workload) bool { return p.PID == pid })
		if want := name == "in scope"; got != want {
			t.Errorf("%s: listed %v, want %v", name, got, want)
		}
	}
}
