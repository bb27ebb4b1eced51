package daemon_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// process is a started command.
type process struct {
	*exec.Cmd
	t              testing.TB
	stdin          io.WriteCloser
	stdout, stderr buffer
	done           chan struct{}
}

// buffer can be read while a command writes to it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// begin starts a command on the host in a cgroup.
func (w *world) begin(cgroup string, argv ...string) *process {
	w.t.Helper()
	return w.beginWith(nil, cgroup, argv...)
}

// beginWith is begin with descriptors from 3 on.
func (w *world) beginWith(files []*os.File, cgroup string, argv ...string) *process {
	w.t.Helper()
	p := &process{Cmd: exec.Command(argv[0], argv[1:]...), t: w.t, done: make(chan struct{})}
	p.Stdout, p.Stderr, p.Dir, p.ExtraFiles = &p.stdout, &p.stderr, w.dir, files
	p.WaitDelay = time.Second // a daemon that a command leaves behind may hold the pipes
	var err error
	p.stdin, err = p.StdinPipe()
	must(w.t, err)
	dir, err := os.Open(cgroup)
	must(w.t, err)
	defer dir.Close()
	p.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	must(w.t, w.start(p.Cmd))
	go func() { _ = p.Wait(); close(p.done) }()
	w.t.Cleanup(func() { p.Process.Kill(); <-p.done; sound(w.t, p.stderr.String()) })
	return p
}

// sound fails the test where a daemon has left the marks of a defect.
func sound(t testing.TB, log string) {
	t.Helper()
	for _, mark := range []string{"DATA RACE", "panic:", "fatal error:", "goroutine "} {
		if strings.Contains(log, mark) {
			t.Errorf("log of a daemon: %s", log)
			return
		}
	}
}

// end waits for a command to end and returns its exit code, 128 and more for a
// signal.
func (p *process) end() int {
	p.t.Helper()
	_ = p.stdin.Close()
	select {
	case <-p.done:
	case <-time.After(2 * patience):
		p.t.Fatalf("%v does not end\n%s\n%s", p.Args, &p.stdout, &p.stderr)
	}
	if ws := p.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return p.ProcessState.ExitCode()
}

// say writes a line to a command.
func (p *process) say(line string) {
	p.t.Helper()
	_, err := io.WriteString(p.stdin, line+"\n")
	must(p.t, err)
}

// result is an ended command.
type result struct {
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return fmt.Sprintf("exit %d\nstdout: %s\nstderr: %s", r.code, r.stdout, r.stderr)
}

// do runs a command on the host to its end.
func (w *world) do(cgroup string, argv ...string) result {
	w.t.Helper()
	p := w.begin(cgroup, argv...)
	code := p.end()
	return result{p.stdout.String(), p.stderr.String(), code}
}

// outwarden runs one of our commands with the world's configuration.
func (w *world) outwarden(args ...string) result {
	w.t.Helper()
	return w.do(w.cgroup, append([]string{program("outwarden"), "--config", w.config}, args...)...)
}

// run runs a workload under an ephemeral daemon, or under the one that runs.
func (w *world) run(argv ...string) result {
	w.t.Helper()
	return w.outwarden(append([]string{"run", "--"}, argv...)...)
}

// trusting is the variable that makes a Go program trust us without a run.
func (w *world) trusting() string { return "SSL_CERT_FILE=" + w.path("run/trust/bundle.pem") }

// beginRun starts a workload with outwarden run.
func (w *world) beginRun(argv ...string) *process {
	w.t.Helper()
	return w.begin(w.cgroup, append([]string{program("outwarden"), "--config", w.config, "run", "--"}, argv...)...)
}

// daemon starts the daemon and waits until it serves.
func (w *world) daemon() *process {
	w.t.Helper()
	return w.daemonBy()
}

// daemonBy is daemon by another command, as env.
func (w *world) daemonBy(command ...string) *process {
	w.t.Helper()
	p := w.begin(w.cgroup, append(command, program("outwarden"), "daemon", "--config", w.config)...)
	w.await("daemon is ready", func() bool {
		select {
		case <-p.done:
			w.t.Fatalf("the daemon ended: %s", &p.stderr)
		default:
		}
		return strings.Contains(p.stderr.String(), "outwarden is ready")
	})
	return p
}

// stop ends a daemon in order.
func (p *process) stop() {
	p.t.Helper()
	must(p.t, p.Process.Signal(syscall.SIGTERM))
	if code := p.end(); code != 0 {
		p.t.Errorf("%v ended with %d: %s", p.Args, code, &p.stderr)
	}
}

// kill ends a process as a crash would.
func (p *process) kill() {
	p.t.Helper()
	must(p.t, p.Process.Kill())
	<-p.done
}

// killPID kills a daemon that a command of ours started, and waits for its end.
func killPID(t testing.TB, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0))
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds())); n != 1 {
		t.Fatalf("process %d does not end: %v", pid, err)
	}
}
