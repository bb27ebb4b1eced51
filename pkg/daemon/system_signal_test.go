package daemon_test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A daemon that is told to reload while it starts, as one is that relieves another and
// whose pid the service manager knows already, does so once it serves. That nobody
// reads what it has to say meanwhile is no reason to end either.
func TestSystemSignalsDuringStart(t *testing.T) {
	w := newWorld(t)
	text, config := w.read("outwarden.yaml"), w.path("piped.yaml") // the start waits here
	must(t, unix.Mkfifo(config, 0o600))
	r, deaf, err := os.Pipe()
	must(t, err)
	must(t, r.Close())
	p := w.beginWith([]*os.File{deaf}, w.cgroup, "sh", "-c", `exec "$@" 2>&3 3>&-`, "sh", program("outwarden"), "daemon", "--config", config)
	must(t, deaf.Close())
	pipe := w.openPipe(config, p)
	must(t, p.Process.Signal(syscall.SIGHUP))
	feed(t, pipe, text)
	w.await("the daemon is up", func() bool { return ended(p) || exists(w.path("run/handover.sock")) })
	feed(t, w.openPipe(config, p), text) // it is read once more
	p.stop()
}

// openPipe waits until a daemon reads its configuration, which is a pipe.
func (w *world) openPipe(path string, reader *process) (pipe *os.File) {
	w.t.Helper()
	w.await("the configuration is read", func() bool {
		if ended(reader) {
			w.t.Fatalf("the daemon ended: %v", reader.ProcessState)
		}
		f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err != nil && !errors.Is(err, unix.ENXIO) {
			w.t.Fatal(err)
		}
		pipe = f
		return err == nil
	})
	return pipe
}

func feed(t *testing.T, pipe *os.File, text string) {
	t.Helper()
	_, err := strings.NewReader(text).WriteTo(pipe)
	must(t, errors.Join(err, pipe.Close()))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
