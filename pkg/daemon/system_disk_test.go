package daemon_test

import (
	"os"
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

// No credential leaves once the trail is gone from its place, be it that what is written
// would go nowhere. Status says so, and the next daemon begins a trail.
func TestSystemTrailTaken(t *testing.T) {
	w := newWorld(t)
	w.launch("", program("outwarden"))
	get := func() result { return w.do(w.work, "env", w.trusting(), program("client"), "get", partnerURL) }
	if r := get(); !strings.Contains(r.stdout, `"ok":true`) {
		t.Fatal(r)
	}
	must(t, os.Rename(w.path("state/audit"), w.path("state/aside")))
	w.await("status tells of it", func() bool { return strings.Contains(w.status().Audit.Fault, "removed or moved") })
	if r := get(); !strings.Contains(r.stdout, "audit_unavailable") {
		t.Errorf("without a trail: %v", r)
	}
	if r := w.outwarden("status"); !strings.Contains(r.stdout, "with a fault") || !strings.Contains(r.stdout, "no record can be written until a restart") {
		t.Errorf("status: %v", r)
	}
	if r := w.outwarden("upgrade"); r.code != 0 {
		t.Fatalf("upgrade: %v", r)
	}
	if r := get(); !strings.Contains(r.stdout, `"ok":true`) {
		t.Errorf("with the next daemon: %v", r)
	}
	if log := w.read("daemon.log"); strings.Count(log, "an empty audit trail begins") != 1 {
		t.Errorf("log: %s", log)
	}
	w.end(w.status())
	if r := w.outwarden("audit", "verify"); r.code != 0 {
		t.Errorf("audit verify: %v", r)
	}
}

// A trail from which somebody took the end is told of in the log of the daemon that
// starts on it; one that has just begun, or is as it was left, is not.
func TestSystemTrailCut(t *testing.T) {
	w := newWorld(t)
	d := w.daemon()
	if r := w.do(w.work, "env", w.trusting(), program("client"), "get", partnerURL); r.code != 0 {
		t.Fatal(r)
	}
	d.stop()
	again := w.daemon()
	again.stop()
	for _, log := range []string{d.stderr.String(), again.stderr.String()} {
		if strings.Contains(log, "audit trail") {
			t.Errorf("log: %s", log)
		}
	}
	must(t, os.Truncate(w.path("state/audit/00000000000000000001.jsonl"), 0))
	d = w.daemon()
	if log := d.stderr.String(); !strings.Contains(log, "the audit trail is not as it was left: the trail ended before its head says") {
		t.Errorf("log: %s", log)
	}
	d.stop()
}
