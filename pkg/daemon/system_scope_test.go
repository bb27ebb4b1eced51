package daemon_test

import (
	"os"
	"slices"
	"testing"
)

// A unit that restarts has a new cgroup of the old name, and one that has not
// started has none: both are captured from their first process on.
func TestSystemScopeComesAndGoes(t *testing.T) {
	w := newWorld(t)
	must(t, os.Remove(w.work))
	w.daemon()
	scopes := func() []string { return w.status().Capture.Scopes }
	captured := func() {
		before := w.status().Flows.Accepted
		if r := w.do(w.work, program("client"), "connect", partnerAddr); r.code != 0 {
			t.Errorf("connect: %v", r)
		}
		w.await("a connection in a cgroup just made is captured", func() bool { return w.status().Flows.Accepted > before })
	}
	if got := scopes(); len(got) != 0 {
		t.Errorf("captured before it is there: %v", got)
	}
	for range 2 {
		must(t, os.Mkdir(w.work, 0o755))
		captured()
		w.await("the daemon knows of it", func() bool { return slices.Equal(scopes(), []string{w.work}) })
		must(t, os.Remove(w.work))
	}
	must(t, os.Mkdir(w.work, 0o755))
}
