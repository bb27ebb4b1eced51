package daemon_test

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// What a service manager has told a run, and what descriptors that was given, are for
// the command. The daemon that it brings is nobody's service, and holds nothing open.
func TestSystemRunDaemonIsNoService(t *testing.T) {
	w := newWorld(t)
	m := newManager(w)
	r, given, err := os.Pipe()
	must(t, err)
	defer r.Close()
	script := []string{"run", "--", "sh", "-c", `echo "has $NOTIFY_SOCKET"; read ended`}
	argv := append([]string{"env", "NOTIFY_SOCKET=" + w.path("notify"), "WATCHDOG_USEC=2000000", program("outwarden"), "--config", w.config}, script...)
	first := w.beginWith([]*os.File{given}, w.cgroup, argv...)
	must(t, given.Close())
	w.await("the command has begun", func() bool { return first.stdout.String() == "has "+w.path("notify")+"\n" })
	second := w.beginRun("sh", "-c", "echo begun; read ended") // by the daemon of the first
	w.await("the other has begun", func() bool { return second.stdout.String() == "begun\n" })
	first.end()
	must(t, r.SetReadDeadline(time.Now().Add(patience)))
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the end of a pipe that the command alone was given: %v", err)
	}
	second.end()
	w.await("the ephemeral daemon has left", func() bool { return w.processes() == "" })
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.said) > 0 {
		t.Errorf("in the command's stead the daemon has said %q", m.said[0])
	}
}

// A run ends with its command, though that leaves a process behind which is captured
// as long as it lives.
func TestSystemRunEndsBeforeWhatItLeaves(t *testing.T) {
	w := newWorld(t)
	p := w.beginRun("sh", "-c", `{ n=0; while [ ! -e over ] && [ $n -lt 150 ]; do n=$((n+1)); sleep 0.1; done; } >/dev/null 2>&1 & exit 3`)
	if code := p.end(); code != 3 || !strings.Contains(w.processes(), "while [ ! -e over ]") {
		t.Errorf("exit %d, and of what it left there is %q", code, w.processes())
	}
	w.write("over", "")
	w.await("the ephemeral daemon has left", func() bool { return len(w.pinned()) == 0 && w.processes() == "" })
}
