package daemon

import "testing"

// The nearest of a cgroup and its ancestors that is named decides.
func TestScopesCover(t *testing.T) {
	s := &scopes{
		root:    "/sys/fs/cgroup",
		include: []string{"/sys/fs/cgroup/pods", "/sys/fs/cgroup/pods/ours/guest"}, exclude: []string{"/sys/fs/cgroup/pods/ours"},
		open: []string{"/sys/fs/cgroup/run"},
	}
	for cgroup, want := range map[string]bool{
		"/pods": true, "/pods/a/b": true, "/pods/ours": false, "/pods/ours/x": false, "/pods/ours/guest/y": true,
		"/run": true, "/podsX": false, "/": false, "": false,
	} {
		if got := s.covers(cgroup); got != want {
			t.Errorf("%q is covered: %v, want %v", cgroup, got, want)
		}
	}
	s.include = []string{"/sys/fs/cgroup"}
	if !s.covers("/") || !s.covers("/anything/else") || s.covers("/pods/ours/x") {
		t.Error("a scope of everything is not everything but what is exempt")
	}
}
