package daemon_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/control"
)

// Hooks that somebody detaches or unpins are noticed: meanwhile the daemon is
// not ready, an alert is in the trail, and they are put back by themselves.
func TestSystemTamper(t *testing.T) {
	requireBinaries(t)
	w := newWorld(t)
	d := w.daemon()
	call := func() bool {
		return w.do(w.work, "env", w.trusting(), program("client"), "get", partnerURL).code == 0
	}
	alerts := 0
	for name, harm := range map[string]func(){
		"a detached link":   func() { severed(t, filepath.Join(w.pins, "link_connect4")) },
		"a removed pin":     func() { must(t, os.Remove(filepath.Join(w.pins, "link_connect6"))) },
		"a wiped directory": func() { must(t, os.RemoveAll(w.pins)) },
	} {
		harm()
		w.await(name+": not ready", func() bool { c := w.capture(); return !c.Ready && c.Fault != "" })
		w.await(name+": ready again", func() bool { return w.capture().Ready })
		if !call() {
			t.Errorf("%s: not captured again", name)
		}
		alerts++
		if n := w.alerts("hooks_broken", "mended"); n != alerts {
			t.Errorf("%s: %d alerts, want %d", name, n, alerts)
		}
	}
	if ill := w.doctor(); len(ill) != 0 {
		t.Errorf("the doctor afterwards: %+v", ill)
	}
	d.stop()
}

// Under load nothing slips through where the connect hooks have been: what they
// do not see is refused as it leaves, and tells the daemon to put them back.
func TestSystemTamperUnderLoad(t *testing.T) {
	for _, backend := range []string{"rewrite", "nft"} {
		t.Run(backend, func(t *testing.T) {
			w := newWorld(t)
			s := w.standard()
			s.hooks = ", backend: " + backend
			w.configure(s)
			w.countDirect()
			d := w.launch("", program("outwarden"))
			load := w.begin(w.work, program("client"), "dial", "4", partnerAddr, partnerName)
			w.await("an answer", func() bool { return strings.Contains(load.stdout.String(), "loading") })
			for n := range min(killings(t)/5, 5) + 1 {
				severed(t, filepath.Join(w.pins, "link_connect4"))
				w.await("mended", func() bool { return w.alerts("hooks_broken", "mended") == n+1 })
			}
			seen := w.status().Flows.Accepted
			w.await("captured again", func() bool { return w.status().Flows.Accepted > seen+10 })
			w.harmless(t, load, "closed")
			w.noneDirect()
			r := w.find("a connection that was not seen", func(r *audit.Record) bool { return r.Reason == "connect_unseen" })
			if r.Process == nil || !strings.HasSuffix(r.Process.Exe, "/client") || r.Original.IP+":443" != partnerAddr || r.Decision != "deny" {
				t.Errorf("record %+v", r)
			}
			d.stop()
			sound(t, w.read("daemon.log"))
		})
	}
}

// capture is that part of the status.
func (w *world) capture() control.CaptureStatus {
	w.t.Helper()
	r := w.outwarden("status", "-o", "json")
	var s control.Status
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		w.t.Fatalf("status: %v: %v", r, err)
	}
	return s.Capture
}

// alerts counts those of a reason that say something.
func (w *world) alerts(reason, what string) (n int) {
	w.t.Helper()
	r := w.outwarden("flows", "--kind", "alert", "-o", "json")
	for line := range strings.Lines(r.stdout) {
		var a audit.Record
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			w.t.Fatalf("alerts: %v: %v", r, err)
		}
		if a.Reason == reason && a.Anomaly != nil && strings.Contains(strings.Join(a.Anomaly.Reasons, " "), what) {
			n++
		}
	}
	return n
}
