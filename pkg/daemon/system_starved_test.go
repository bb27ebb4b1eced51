package daemon_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// stopped is for how long a daemon is stopped: 30 s in full, less in the gate.
func stopped() time.Duration {
	if os.Getenv("OUTWARDEN_KILLS") != "" {
		return 30 * time.Second
	}
	return time.Second
}

// A daemon that is stopped, or has no descriptors left, lets nothing past and
// leaves nobody hanging once it is itself again.
func TestSystemStarved(t *testing.T) {
	w := newWorld(t)
	d := w.launch("", program("outwarden"))
	w.countDirect()
	pid := d.Process.Pid
	for name, starve := range map[string]func() (restore func()){
		"stopped": func() func() {
			must(t, unix.Kill(pid, syscall.SIGSTOP))
			return func() { must(t, unix.Kill(pid, syscall.SIGCONT)) }
		},
		"descriptors": func() func() {
			var old unix.Rlimit
			must(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old))
			must(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: old.Max}, nil))
			return func() { must(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil)) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			restore := starve()
			load := w.begin(w.work, program("client"), "dial", "40", partnerAddr, partnerName, "1m")
			if name == "stopped" {
				time.Sleep(stopped()) // nobody is told that it is over but by a clock
			}
			for range 5 { // who connects meanwhile waits in the queue
				if r := w.do(w.work, program("client"), "connect", partnerAddr); r.code != 0 && !strings.Contains(r.stderr, "reset") {
					t.Errorf("connect: %v", r)
				}
			}
			if name == "descriptors" {
				w.await("there are none left", func() bool { return strings.Contains(w.read("daemon.log"), "too many open files") })
			}
			restore()
			w.await("the load is served", func() bool { return strings.Contains(load.stdout.String(), "loading") })
			w.harmless(t, load, "open") // nothing need be refused
			if n := w.direct(); n != 0 {
				t.Errorf("%d connects went past", n)
			}
		})
	}
	w.noneDirect()
	if r := w.outwarden("audit", "verify"); r.code != 0 {
		t.Errorf("audit verify: %v", r)
	}
	sound(t, w.read("daemon.log"))
}

// A daemon that the kernel kills because its cgroup has no memory left: nothing goes
// past, nobody hangs, and the daemon that comes after it takes over.
func TestSystemOutOfMemory(t *testing.T) {
	w, dir, d := confined(t, "memory")
	load := w.loadOf("4")
	more := w.dials("100")
	exhaust(t, dir, d.Process.Pid)
	if code := d.end(); code != 128+int(syscall.SIGKILL) {
		t.Errorf("the daemon ended with %d, want it killed", code)
	}
	w.recovers(t, "closed", load, more)
}

// The same where it can have no more threads. It lives with that while it needs none,
// and its runtime ends it at the first that it wants: a load begins in either case.
func TestSystemOutOfThreads(t *testing.T) {
	w, dir, d := confined(t, "pids")
	load := w.loadOf("4")
	limit := filepath.Join(dir, "pids.max")
	must(t, os.WriteFile(limit, []byte("1"), 0o644))
	more := w.dials("100")
	w.await("an answer, or the end of the daemon", func() bool { return served(more) || ended(d) })
	must(t, os.WriteFile(limit, []byte("max"), 0o644))
	_ = d.Process.Kill() // it may be dead
	<-d.done
	w.recovers(t, "open", load, more)
}

// confined is a world with a daemon in a cgroup that has a controller.
func confined(t *testing.T, controller string) (w *world, dir string, d *process) {
	t.Helper()
	w = newWorld(t)
	w.write("outwarden.yaml", w.fixedPorts())
	w.countDirect()
	dir = netnstest.Limited(t, controller)
	return w, dir, w.launch("echo $$ >"+dir+"/cgroup.procs;", program("outwarden"))
}

// recovers starts the next daemon, which serves the loads that were there before it.
func (w *world) recovers(t *testing.T, fail string, loads ...*process) {
	t.Helper()
	d := w.launch("", program("outwarden"))
	w.await("the next one serves", func() bool { return w.status().Flows.Accepted > 50 })
	for _, load := range loads {
		w.await("each load is served", func() bool { return served(load) })
		w.harmless(t, load, fail)
	}
	w.noneDirect()
	if r := w.outwarden("audit", "verify"); r.code != 0 {
		t.Errorf("audit verify: %v", r)
	}
	d.stop()
}

// loadOf begins a load of dials, so many at a time, and waits until it is served.
func (w *world) loadOf(workers string) *process {
	w.t.Helper()
	load := w.dials(workers)
	w.await("an answer", func() bool { return served(load) })
	return load
}

// dials begins a load of dials, so many at a time.
func (w *world) dials(workers string) *process {
	return w.begin(w.work, program("client"), "dial", workers, partnerAddr, partnerName, "1m") // who is short of memory is slow first
}

// served tells whether a load of dials had its first answer.
func served(load *process) bool { return strings.Contains(load.stdout.String(), "loading") }

// ended tells whether a process has ended.
func ended(p *process) bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// exhaust limits a cgroup to 64 MiB more than it has, and has somebody else in it take
// all of them. The kernel is told whom to kill for that first.
func exhaust(t *testing.T, dir string, first int) {
	t.Helper()
	limit, usage := filepath.Join(dir, "memory.limit_in_bytes"), filepath.Join(dir, "memory.usage_in_bytes")
	if _, err := os.Stat(limit); err != nil {
		limit, usage = filepath.Join(dir, "memory.max"), filepath.Join(dir, "memory.current")
	}
	b, err := os.ReadFile(usage)
	must(t, err)
	has, err := strconv.Atoi(strings.TrimSpace(string(b)))
	must(t, err)
	must(t, os.WriteFile(limit, []byte(strconv.Itoa(has+64<<20)), 0o644))
	must(t, os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", first), []byte("1000"), 0o644))
	glutton := exec.Command("sh", "-c", "echo $$ >"+dir+"/cgroup.procs; exec tail /dev/zero") // which waits for a line to end
	must(t, glutton.Start())
	t.Cleanup(func() {
		_ = glutton.Process.Kill() // its turn comes second
		_ = glutton.Wait()
	})
}
