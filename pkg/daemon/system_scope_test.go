package daemon_test

import (
	"os"
	"slices"
	"testing"
)

// A unit that restarts has a new cgroup of the old name, and one that has not
// started has none: both are captured once they are there.
func TestSystemScopeComesAndGoes(t *testing.T) {
	w := newWorld(t)
	must(t, os.Remove(w.work))
	w.daemon()
	scopes := func() []string { return w.status().Capture.Scopes }
	captured := func() bool {
		before := w.status().Flows.Accepted
		if r := w.do(w.work, program("client"), "connect", partnerAddr); r.code != 0 {
			t.Errorf("connect: %v", r)
		}
		w.await("the daemon has seen what there is to see", func() bool { return w.status().Flows.Open == 0 })
		return w.status().Flows.Accepted > before
	}
	if got := scopes(); len(got) != 0 {
		t.Errorf("captured before it is there: %v", got)
	}
	for range 2 {
		must(t, os.Mkdir(w.work, 0o755))
		w.await("the cgroup is captured", captured)
		if got := scopes(); !slices.Equal(got, []string{w.work}) {
			t.Errorf("scopes: %v", got)
		}
		must(t, os.Remove(w.work))
	}
	must(t, os.Mkdir(w.work, 0o755))
}
