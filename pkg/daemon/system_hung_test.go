package daemon_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/control"
)

// A successor that hangs, with all that it was offered, is ended: the daemon that runs
// goes on, whoever asked for the upgrade is told, and the next successor takes over.
func TestSystemHungSuccessor(t *testing.T) {
	w := newWorld(t)
	d := w.launch("", program("outwarden"))
	load := w.load("2")
	upgrade, asked := w.beginWithSlowSecret("upgrade")
	successor, err := control.Peer(asked)
	must(t, err)
	pidfd, err := unix.PidfdOpen(int(successor.Pid), 0)
	must(t, err)
	t.Cleanup(func() { _, _ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0), unix.Close(pidfd) })
	must(t, unix.PidfdSendSignal(pidfd, unix.SIGSTOP, nil, 0))
	if code := upgrade.end(); code != 1 || !strings.Contains(upgrade.stderr.String(), "did not take over") {
		t.Errorf("upgrade: exit %d: %s", code, &upgrade.stderr)
	}
	w.configure(w.standard())
	if r := w.outwarden("upgrade"); r.code != 0 {
		t.Fatalf("the next upgrade: %v\n%s", r, w.read("daemon.log"))
	}
	load.end()
	if out := load.stdout.String(); strings.Contains(out, "failed:") || !strings.Contains(out, "well: ") {
		t.Errorf("load: %s", out)
	}
	if code := d.end(); code != 0 {
		t.Errorf("the first daemon ended with %d", code)
	}
	w.end(w.status())
	sound(t, w.read("daemon.log"))
}
