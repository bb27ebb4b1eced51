package daemon_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/control"
)

// release builds the program anew under another version, at a path.
func (w *world) release(version, path string) {
	w.t.Helper()
	args := append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-X main.version=" + version, "-o", path + ".new"}, raceFlags...)
	cmd := exec.Command("go", append(args, "../../cmd/outwarden")...)
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("build: %v: %s", err, out)
	}
	must(w.t, os.Rename(path+".new", path)) // as a package manager does
}

// launch starts a daemon that logs to daemon.log, as the daemons after it do, and
// waits until it serves. setup are shell commands that come before it.
func (w *world) launch(setup, exe string, args ...string) *process {
	w.t.Helper()
	return w.launchWith(nil, setup, exe, args...)
}

// launchWith is launch with descriptors from 3 on.
func (w *world) launchWith(files []*os.File, setup, exe string, args ...string) *process {
	w.t.Helper()
	ready := strings.Count(w.read("daemon.log"), "outwarden is ready")
	argv := []string{"sh", "-c", setup + ` exec "$@" 2>>daemon.log`, "sh", exe, "daemon", "--config", w.config}
	p := w.beginWith(files, w.cgroup, append(argv, args...)...)
	w.await("daemon is ready", func() bool {
		select {
		case <-p.done:
			w.t.Fatalf("the daemon ended: %s", w.read("daemon.log"))
		default:
		}
		return strings.Count(w.read("daemon.log"), "outwarden is ready") > ready
	})
	return p
}

// load begins to call the partner on new connections, all the time.
func (w *world) load(workers string) *process {
	w.t.Helper()
	p := w.begin(w.work, "env", w.trusting(), program("client"), "load", workers, partnerURL)
	w.await("an answer", func() bool { return strings.Contains(p.stdout.String(), "loading") })
	return p
}

// unharmed ends a load and fails the test if any call failed.
func (w *world) unharmed(load *process) {
	w.t.Helper()
	load.end()
	out := load.stdout.String()
	if strings.Contains(out, "failed:") || !strings.Contains(out, "well: ") {
		w.t.Errorf("load: %s %s\ndaemon log: %s", out, &load.stderr, w.read("daemon.log"))
	}
	w.t.Log(out[strings.LastIndex(out, "well: "):])
}

// Under a continuous load of new connections a daemon is replaced by another
// version, and that by the one before. None of them fails, and none goes past.
func TestSystemUpgrade(t *testing.T) {
	w := newWorld(t)
	before := w.hostState()
	exe := w.path("outwarden")
	must(t, os.Link(program("outwarden"), exe))
	old := w.launch("", exe)
	w.countDirect()
	load := w.load("4")
	held := w.pinned()
	for _, version := range []string{"next", "dev"} {
		pid := w.status().PID
		if version == "dev" {
			must(t, os.Link(program("outwarden"), exe+".new"))
			must(t, os.Rename(exe+".new", exe))
		} else {
			w.release(version, exe)
		}
		if r := w.outwarden("upgrade"); r.code != 0 || !strings.Contains(r.stdout, "upgraded: "+version+" serves in place of ") {
			t.Fatalf("upgrade: %v\n%s", r, w.read("daemon.log"))
		}
		s := w.status()
		if s.PID == pid || s.Version != version {
			t.Errorf("pid %d, version %s after the upgrade from %d to %s", s.PID, s.Version, pid, version)
		}
		seen := w.status().Flows.Requests
		w.await("the next one serves", func() bool { return w.status().Flows.Requests > seen+10 })
		held = append(held, w.pinned()...)
	}
	w.handedOn(old, load)
	if r := w.outwarden("detach"); r.code != 0 {
		t.Errorf("detach: %v", r)
	}
	w.gone(held)
	w.sameHost(before)
}

// handedOn ends what was begun before a first daemon was relieved: it ended well, no
// call failed or went past, and the trail is whole. The last daemon is stopped.
func (w *world) handedOn(first, load *process) {
	w.t.Helper()
	if code := first.end(); code != 0 {
		w.t.Errorf("the first daemon ended with %d", code)
	}
	w.unharmed(load)
	w.noneDirect()
	if r := w.outwarden("audit", "verify"); r.code != 0 {
		w.t.Errorf("audit verify: %v", r)
	}
	w.end(w.status())
	sound(w.t, w.read("daemon.log"))
}

// end stops a daemon that another one started. Under a manager, which we are then, it
// is our child.
func (w *world) end(s *control.Status) {
	w.t.Helper()
	fd, err := unix.PidfdOpen(s.PID, 0)
	must(w.t, err)
	defer unix.Close(fd)
	must(w.t, unix.PidfdSendSignal(fd, unix.SIGINT, nil, 0))
	w.await("the daemon has left", func() bool {
		n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0
	})
	_, _ = unix.Wait4(s.PID, nil, 0, nil)
}
