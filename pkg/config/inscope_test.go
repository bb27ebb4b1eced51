package config_test

import (
	"testing"

	"github.com/outwarden/outwarden/pkg/config"
)

// The nearest that something was said of decides, and exclude where both were said.
func TestInScope(t *testing.T) {
	c := &config.Capture{
		Scope:   []config.Target{{Cgroup: "/work"}, {Unit: "a.service"}, {Cgroup: "/both"}, {Cgroup: "/work/out/in"}},
		Exclude: []config.Target{{Cgroup: "/work/out"}, {Unit: "not.service"}, {Cgroup: "/both"}},
	}
	for cgroup, want := range map[string]bool{
		"/": false, "/other": false, "/work": true, "/work/": true, "/work/x/y": true, "/workshop": false,
		"/work/out": false, "/work/out/x": false, "/work/out/in/x": true, "/both": false,
		"/a.service": true, "/system.slice/a.service": true, "/system.slice/system-a.slice/a.service/x": true,
		"/machine/a.service": false, "/work/not.service": true, "/a.slice/not.service": false,
	} {
		if got := c.InScope(cgroup); got != want {
			t.Errorf("%s: %v, want %v", cgroup, got, want)
		}
	}
	whole := &config.Capture{Scope: []config.Target{{Cgroup: "/"}}}
	if !whole.InScope("/") || !whole.InScope("/a/b") {
		t.Error("the whole host is not in scope")
	}
}
