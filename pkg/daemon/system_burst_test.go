package daemon_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/audit"
)

// 50 processes of 5 executables hold 2,000 connections open at once, and then
// send one request on each that says whose it is. The trail must say the same.
func TestSystemBurst(t *testing.T) {
	const executables = 5
	processes, each := 50, 40
	if len(raceFlags) > 0 {
		processes, each = 20, 20 // the detector makes each handshake many times as dear
	}
	w := newWorld(t)
	w.daemon()
	exes := linkExecutables(t, w, executables)
	started := map[int]string{}
	var clients []*process
	for i := range processes {
		exe := exes[i%executables]
		p := w.begin(w.work, "env", w.trusting(), exe, "burst", strconv.Itoa(each), partnerAddr, "https://"+partnerName+"/v1/burst")
		started[p.Process.Pid] = exe
		clients = append(clients, p)
	}
	for _, p := range clients {
		w.await("all connections are open", func() bool {
			if err := p.stderr.String(); err != "" {
				t.Fatalf("process %d: %s", p.Process.Pid, err)
			}
			return strings.Contains(p.stdout.String(), "ready")
		})
	}
	if open := w.status().Flows.Open; open != processes*each {
		t.Errorf("%d flows are open at once, want %d", open, processes*each)
	}
	for _, p := range clients {
		p.say("go")
	}
	for _, p := range clients {
		if code := p.end(); code != 0 {
			t.Errorf("process %d: exit %d: %s", p.Process.Pid, code, &p.stderr)
		}
	}
	w.await("no flow is open", func() bool { return w.status().Flows.Open == 0 })
	checkAttribution(t, w.records(audit.KindRequest), started, each)
	s := w.status()
	if s.Flows.Unattributed != 0 || s.Audit.Lost != 0 || s.Flows.Credentialed != uint64(processes*each) {
		t.Errorf("status: %+v %+v", s.Flows, s.Audit)
	}
	if r := w.outwarden("audit", "verify"); r.code != 0 {
		t.Errorf("audit verify: %v", r)
	}
}

// linkExecutables gives one program several names: each is an executable of its
// own, as busybox's are.
func linkExecutables(t *testing.T, w *world, n int) []string {
	t.Helper()
	exes := make([]string, n)
	for i := range exes {
		exes[i] = w.path(fmt.Sprintf("burst-%d", i))
		must(t, os.Link(program("client"), exes[i]))
	}
	return exes
}

// checkAttribution: every connection of every process is there once, and the
// record's process is the one that wrote its pid into the path.
func checkAttribution(t *testing.T, records []audit.Record, started map[int]string, each int) {
	t.Helper()
	seen := map[string]bool{}
	for _, r := range records {
		pid, _, _ := strings.Cut(strings.TrimPrefix(r.Path, "/v1/burst/"), "/")
		switch {
		case seen[r.Path]:
			t.Errorf("two records of %s", r.Path)
		case r.Process == nil || strconv.Itoa(int(r.Process.PID)) != pid:
			t.Errorf("misattributed: %s", r.Line())
		case r.Process.Exe != started[int(r.Process.PID)] || r.Process.ExeSHA256 == "":
			t.Errorf("executable %q, want %q", r.Process.Exe, started[int(r.Process.PID)])
		case r.Status != 200:
			t.Errorf("status %d: %s", r.Status, r.Line())
		}
		if t.Failed() {
			return // one is enough to read
		}
		seen[r.Path] = true
	}
	if want := len(started) * each; len(seen) != want {
		t.Errorf("%d records, want %d", len(seen), want)
	}
}
