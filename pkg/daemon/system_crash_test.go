package daemon_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/replay"
)

// A daemon that is killed leaves the decision to the kernel: the fail policy
// holds at once, for connections that begin, and a daemon that comes back takes
// over. Detach then leaves nothing.
func TestSystemKilledDaemon(t *testing.T) {
	requireBinaries(t)
	for _, fail := range []string{"closed", "open"} {
		t.Run(fail, func(t *testing.T) {
			w := newWorld(t)
			before := w.hostState()
			s := w.standard()
			s.fail = fail
			w.configure(s)
			connect := func() bool { return w.do(w.work, program("client"), "connect", partnerAddr).code == 0 }
			call := func() bool {
				return w.do(w.work, "env", w.trusting(), program("client"), "get", partnerURL).code == 0
			}

			d := w.daemon()
			if !call() {
				t.Fatal("the daemon does not serve")
			}
			d.kill()
			for range 20 {
				if got, want := connect(), fail == "open"; got != want {
					t.Fatalf("connects with a dead daemon: %v, want %v", got, want)
				}
			}
			if r := w.do(w.cgroup, program("client"), "connect", partnerAddr); r.code != 0 {
				t.Errorf("who is not in scope can't connect: %v", r)
			}
			if r := w.outwarden("status"); r.code != 1 || !strings.Contains(r.stderr, "no daemon is running") || !strings.Contains(r.stderr, "hint:") {
				t.Errorf("status without a daemon: %v", r)
			}

			held := w.pinned()
			d = w.daemon()
			if !call() {
				t.Error("the daemon after it does not serve")
			}
			if r := w.outwarden("detach"); r.code != 1 || !strings.Contains(r.stderr, "another daemon is running") {
				t.Errorf("detach under a daemon: %v", r)
			}
			if r := w.outwarden("audit", "verify"); r.code != 0 {
				t.Errorf("audit verify after a crash: %v", r)
			}
			held = append(held, w.pinned()...)
			d.stop()
			if got, want := connect(), fail == "open"; got != want {
				t.Errorf("connects with a stopped daemon: %v, want %v", got, want)
			}

			r := w.outwarden("detach")
			if r.code != 0 || strings.Count(r.stdout, "removed") < 5 {
				t.Errorf("detach: %v", r)
			}
			if !connect() {
				t.Error("a detached host does not connect")
			}
			w.gone(held)
			w.sameHost(before)
			if r := w.outwarden("detach"); r.code != 0 || !strings.Contains(r.stdout, "nothing to remove") {
				t.Errorf("detach again: %v", r)
			}
		})
	}
}

// A run outlives the daemon that made its scope: it fails while there is none
// and goes on with the next, whichever kind each of them is.
func TestSystemRunOutlivesDaemon(t *testing.T) {
	requireBinaries(t)
	for _, first := range []string{"daemon", "ephemeral"} {
		t.Run(first, func(t *testing.T) {
			w := newWorld(t)
			before := w.hostState()
			var pid int
			if first == "daemon" {
				pid = w.daemon().Process.Pid
			}
			p := w.beginRun(program("client"), "steps")
			ask := func() string {
				said := len(p.stdout.String())
				p.say(partnerURL)
				w.await("an answer", func() bool { return strings.Contains(p.stdout.String()[said:], "done") })
				return p.stdout.String()[said:]
			}
			accountIn(t, ask()).verified(t)
			if pid == 0 {
				pid = w.status().PID
			}
			held := w.pinned()
			killPID(t, pid)
			if said := ask(); !strings.Contains(said, "error:") {
				t.Errorf("with a dead daemon: %s", said)
			}
			d := w.daemon()
			accountIn(t, ask()).verified(t)
			w.find("the call under the second daemon", func(r *audit.Record) bool { return r.Kind == audit.KindRequest && r.Seq > 3 })
			held = append(held, w.pinned()...)
			if code := p.end(); code != 0 {
				t.Errorf("exit %d: %s", code, &p.stderr)
			}
			w.await("the scope of the run is closed", func() bool { return len(w.status().Capture.Scopes) == 1 })
			d.stop()
			if r := w.outwarden("detach"); r.code != 0 {
				t.Errorf("detach: %v", r)
			}
			w.gone(held)
			w.sameHost(before)
		})
	}
}

// Ephemeral hooks never stand in for those of a stopped daemon, whose scope
// stays closed.
func TestSystemRunKeepsStoppedDaemonClosed(t *testing.T) {
	w := newWorld(t)
	w.daemon().stop()
	if r := w.run(program("client"), "get", partnerURL); r.code != 0 {
		t.Errorf("run beside a stopped daemon: %v", r)
	}
	if r := w.do(w.work, program("client"), "connect", partnerAddr); r.code == 0 {
		t.Error("the scope of the stopped daemon has been opened by a run")
	}
}

// refusesReplays has a route that knows what workloads signed before.
func (w *world) refusesReplays() {
	w.t.Helper()
	s := w.standard()
	s.extra = "- name: signs\n  to: {host: good.example}\n  action: intercept\n" +
		"  sign: {refuse_replays: true, sigv4: {access_key: AKIAIOSFODNN7EXAMPLE, secret_key: secret:partner-token, placeholder: AKIDPLACEHOLDER, region: us-east-1, service: s3}}\n"
	w.configure(s)
}

// A power cut may leave the journal of the signatures that were seen with zeros at its
// end: the daemon comes up all the same, and says what it has put aside.
func TestSystemDamagedReplays(t *testing.T) {
	w := newWorld(t)
	w.refusesReplays()
	d := w.daemon()
	d.stop()
	journal, err := os.OpenFile(w.path("state/replays.1"), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = journal.Write(make([]byte, 4096))
	must(t, errors.Join(err, journal.Close()))
	d = w.daemon()
	if log := d.stderr.String(); !strings.Contains(log, "put aside") || !strings.Contains(log, "state/replays.1") {
		t.Errorf("the log says nothing of it: %s", log)
	}
	if r := w.do(w.work, "env", w.trusting(), program("client"), "get", partnerURL); r.code != 0 {
		t.Errorf("get: %v", r)
	}
}

// A clock that was ahead at boot and set back later leaves a journal of a time that comes
// again. The log says until when that is refused, and what to do.
func TestSystemClockSetBack(t *testing.T) {
	w := newWorld(t)
	w.refusesReplays()
	must(t, os.Mkdir(w.path("state"), 0o700))
	ahead := time.Now().Add(2 * time.Hour)
	seen, err := replay.Open(replay.Options{Path: w.path("state/replays"), Window: time.Minute, Capacity: 1, Now: ahead})
	must(t, err)
	must(t, seen.Close())
	d := w.daemon()
	if log := d.stderr.String(); !strings.Contains(log, "set back") || !strings.Contains(log, ahead.UTC().Format(time.RFC3339)) {
		t.Errorf("the log says nothing of it: %s", log)
	}
}

// Hooks are taken from no daemon that lives, also where somebody comes with another
// run_dir, or has removed that of the daemon.
func TestSystemDetachUnderAnotherRunDir(t *testing.T) {
	w := newWorld(t)
	d := w.daemon()
	good, held := w.read("outwarden.yaml"), w.pinned()
	elsewhere := strings.NewReplacer("run_dir: run", "run_dir: elsewhere", "state_dir: state", "state_dir: elsewhere-state").Replace(good)
	refused := func(when string, args ...string) {
		t.Helper()
		r := w.outwarden(args...)
		if r.code != 1 || !strings.Contains(r.stderr, "another daemon is running: "+w.pins) || !strings.Contains(r.stderr, "hint:") {
			t.Errorf("%v %s: %v", args, when, r)
		}
		if now := w.pinned(); !slices.Equal(now, held) {
			t.Errorf("%v %s: %d objects are pinned, want the same %d", args, when, len(now), len(held))
		}
	}
	w.write("outwarden.yaml", elsewhere)
	refused("by another run_dir", "detach")
	refused("by another run_dir", "daemon")
	w.write("outwarden.yaml", good)
	must(t, os.RemoveAll(w.path("run")))
	refused("when run_dir is gone", "detach")
	refused("when run_dir is gone", "daemon")
	must(t, d.Process.Signal(syscall.SIGTERM))
	d.end()
	if r := w.outwarden("detach"); r.code != 0 || !strings.Contains(r.stdout, "removed directory "+w.pins) {
		t.Errorf("detach when the daemon has stopped: %v", r)
	}
	w.gone(held)
}
