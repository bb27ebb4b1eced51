package daemon_test

import (
	"strings"
	"testing"
	"time"
)

// A service that is restarted or killed refuses nobody in other network namespaces
// either, and lets go of its sockets there when nobody is left.
func TestSystemRestartElsewhere(t *testing.T) {
	w := newWorld(t)
	slipped := w.watch()
	place := w.place()
	resident := w.inhabit(place)
	m := newManager(w)
	d := m.launch(program("outwarden"))
	w.awaitOthers(1)
	home := len(w.status().Capture.Listeners) + 1
	w.await("the sockets of both namespaces are stored", func() bool { return m.count() == 2*home-1 })
	load := w.begin(w.work, within(place, "env", w.trusting(), program("client"), "load", "2", partnerURL)...)
	w.await("an answer", func() bool { return strings.Contains(load.stdout.String(), "loading") })
	next := func() {
		d = m.launch(program("outwarden"))
		if n := w.status().Capture.Others; n != 1 {
			t.Errorf("%d other namespaces are served when the next one is ready, want 1", n)
		}
		w.await("it serves", func() bool { return w.status().Flows.Requests > 10 })
	}
	d.stop()
	next()
	load.end()
	if out := load.stdout.String(); strings.Contains(out, "failed:") || !strings.Contains(out, "well: ") {
		t.Errorf("across a restart: %s %s", out, &load.stderr)
	}
	load = w.begin(w.work, within(place, "env", w.trusting(), program("client"), "load", "2", partnerURL)...)
	w.await("an answer", func() bool { return strings.Contains(load.stdout.String(), "loading") })
	d.kill() // what was under way breaks
	next()
	load.end()
	if out := load.stdout.String(); strings.Contains(out, "refused") || strings.Contains(out, "not permitted") || !strings.Contains(out, "well: ") {
		t.Errorf("across a kill: %s %s", out, &load.stderr)
	}
	if n := slipped(); n != 0 {
		t.Errorf("%d packets went past us", n)
	}
	must(t, resident.Process.Kill())
	w.awaitOthers(0)
	w.await("the sockets of the namespace are let go of", func() bool { return m.count() == home })
	d.stop()
	sound(t, w.read("daemon.log"))
}

// An upgrade harms no call of any backend: the successor puts its table in the place
// of the other in one step.
func TestSystemUpgradeNFT(t *testing.T) {
	w := nftWorld(t, "closed")
	d := w.launch("", program("outwarden"))
	w.countDirect()
	load := w.load("4")
	w.upgrade(d)
	w.unharmed(load)
	w.noneDirect()
	if s := w.status().Capture.Table; !s.Intact || s.Restored != 0 {
		t.Errorf("table %+v", s)
	}
	w.end(w.status())
	sound(t, w.read("daemon.log"))
}

// The same for guests, who wait in the queues of listeners that are handed over.
func TestSystemUpgradeGuest(t *testing.T) {
	w, guest := guestWorld(t, "closed")
	w.origin("seen.example", "198.51.100.81", w.certify("seen.example", time.Now().Add(24*time.Hour), false))
	d := w.launch("", program("outwarden"))
	w.watchFar("10.88.0.0/24")
	load := w.begin(w.cgroup, within(guest, "env", w.trusting(), program("client"), "load", "2", "https://seen.example/")...)
	w.await("an answer", func() bool { return strings.Contains(load.stdout.String(), "loading") })
	w.upgrade(d)
	w.unharmed(load)
	w.nothingFar("across an upgrade")
	w.end(w.status())
	sound(t, w.read("daemon.log"))
}

// upgrade replaces a daemon under load, and waits until the next one has served and
// the first has left.
func (w *world) upgrade(d *process) {
	w.t.Helper()
	if r := w.outwarden("upgrade"); r.code != 0 {
		w.t.Fatalf("upgrade: %v\n%s", r, w.read("daemon.log"))
	}
	seen := w.status().Flows.Requests
	w.await("the next one serves", func() bool { return w.status().Flows.Requests > seen+10 })
	if code := d.end(); code != 0 {
		w.t.Errorf("the first daemon ended with %d", code)
	}
}
