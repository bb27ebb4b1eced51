package handover

import (
	"fmt"
	"reflect"
)

// Terms are what must be the same in both daemons, and which version one is.
type Terms struct {
	Version  string   `json:"version"`
	StateDir string   `json:"state_dir"`
	PinDir   string   `json:"pin_dir"`
	Mark     uint32   `json:"mark"`
	Listen   []uint16 `json:"listen"`
	Cgroup   string   `json:"cgroup"` // of the process: the hooks know our connections by it

	// What is in the programs, which the successor replaces before it is sure to serve.
	Fail         string `json:"fail"`
	Raw          string `json:"raw"`
	Backend      string `json:"backend"`
	RedirectMark uint32 `json:"redirect_mark"`
}

// Differs names the first of them that is another in next, as the configuration
// calls it, and what it is in either; "" if there is none.
func (t *Terms) Differs(next *Terms) (key string, ours, theirs any) {
	for _, f := range []struct {
		key       string
		old, next any
	}{
		{"state_dir", t.StateDir, next.StateDir},
		{"capture.pin_dir", t.PinDir, next.PinDir},
		{"capture.mark", t.Mark, next.Mark},
		{"capture.listen", t.Listen, next.Listen},
		{"the daemon's cgroup", t.Cgroup, next.Cgroup},
		{"capture.fail", t.Fail, next.Fail},
		{"capture.raw", t.Raw, next.Raw},
		{"capture.backend", t.Backend, next.Backend},
		{"capture.redirect_mark", t.RedirectMark, next.RedirectMark},
	} {
		if !reflect.DeepEqual(f.old, f.next) {
			return f.key, f.old, f.next
		}
	}
	return "", nil, nil
}

// sameAs refuses a successor that has other places than we, or would attach
// programs that say something else. Only a restart can change them.
func (t *Terms) sameAs(next *Terms) error {
	key, ours, theirs := t.Differs(next)
	if key == "" {
		return nil
	}
	return fmt.Errorf("%s is %v with the daemon that runs and %v with the next, which takes a restart (systemctl restart outwarden; established flows drain first)", key, ours, theirs)
}
