package daemon_test

import (
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

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
			load := w.begin(w.work, program("client"), "dial", "40", partnerAddr, partnerName)
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
