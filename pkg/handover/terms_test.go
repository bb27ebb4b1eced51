package handover

import (
	"strings"
	"testing"
)

// TestTerms: a successor whose programs would say something else is refused, by
// the name of the key and with what to do instead.
func TestTerms(t *testing.T) {
	ours := Terms{Version: "1", StateDir: "/s", PinDir: "/p", Mark: 1, Listen: []uint16{15001}, Cgroup: "/c", Fail: "closed", Raw: "refuse", Backend: "rewrite", RedirectMark: 2}
	next := ours
	next.Version = "2"
	if err := ours.sameAs(&next); err != nil {
		t.Errorf("another version: %v", err)
	}
	for key, change := range map[string]func(*Terms){
		"state_dir":             func(t *Terms) { t.StateDir = "/else" },
		"capture.pin_dir":       func(t *Terms) { t.PinDir = "/else" },
		"capture.mark":          func(t *Terms) { t.Mark++ },
		"capture.listen":        func(t *Terms) { t.Listen = []uint16{15002} },
		"the daemon's cgroup":   func(t *Terms) { t.Cgroup = "/else" },
		"capture.fail":          func(t *Terms) { t.Fail = "open" },
		"capture.raw":           func(t *Terms) { t.Raw = "record" },
		"capture.backend":       func(t *Terms) { t.Backend = "nft" },
		"capture.redirect_mark": func(t *Terms) { t.RedirectMark++ },
	} {
		next := ours
		change(&next)
		if err := ours.sameAs(&next); err == nil || !strings.HasPrefix(err.Error(), key+" is ") || !strings.Contains(err.Error(), "systemctl restart") {
			t.Errorf("%s: %v", key, err)
		}
	}
}
