package daemon_test

import (
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// A daemon is replaced by the next also on a disk that somebody fills, who takes all
// that is given back at once.
func TestSystemUpgradeOnFullDisk(t *testing.T) {
	w := newWorld(t)
	d := w.launch("mkdir -m 700 state; mount -t tmpfs -o mode=700,size=80m tmpfs state;", program("outwarden"))
	w.begin(netnstest.Subgroup(t, w.cgroup, "glutton"), "sh", "-c", "while :; do cat /dev/zero >>state/filler; done")
	load := w.load("2")
	w.await("the disk is full", func() bool { return w.do(w.cgroup, "sh", "-c", "! echo >state/more").code == 0 })
	for range 2 {
		if r := w.outwarden("upgrade"); r.code != 0 {
			t.Fatalf("upgrade: %v\n%s", r, w.read("daemon.log"))
		}
	}
	load.end()
	if out := load.stdout.String(); strings.Contains(out, "failed:") || !strings.Contains(out, "well: ") {
		t.Errorf("load: %s\ndaemon log: %s", out, w.read("daemon.log"))
	}
	if code := d.end(); code != 0 {
		t.Errorf("the first daemon ended with %d", code)
	}
	if r := w.outwarden("audit", "verify"); r.code != 0 {
		t.Errorf("audit verify: %v", r)
	}
	w.end(w.status())
	sound(t, w.read("daemon.log"))
}
