package daemon_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// killings is how often the daemon is killed under each policy: KILLS in full, few
// in the gate.
func killings(t *testing.T) int {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("OUTWARDEN_KILLS")); err == nil {
		return n
	}
	if testing.Short() {
		return 2
	}
	return 5
}

// The daemon is killed at random moments under load, and another comes. Under fail:
// closed nothing ever goes past; under fail: open nothing hangs. Each time the next
// daemon takes over in order, and nobody gets our ports meanwhile.
func TestSystemKilledUnderLoad(t *testing.T) {
	for _, fail := range []string{"closed", "open"} {
		t.Run(fail, func(t *testing.T) {
			w := newWorld(t)
			stranger := netnstest.Subgroup(t, w.cgroup, "stranger")
			before := w.hostState()
			s := w.standard()
			s.fail, s.prefix = fail, "drain: 1s"
			w.configure(s)
			w.write("outwarden.yaml", w.fixedPorts())
			w.countDirect()
			d := w.launch("", program("outwarden"))
			load := w.begin(w.work, program("client"), "dial", "4", partnerAddr, partnerName)
			w.await("an answer", func() bool { return strings.Contains(load.stdout.String(), "loading") })
			grab := w.begin(stranger, append([]string{program("client"), "grab"}, w.status().Capture.Listeners...)...)
			var held []object
			var slow, busy []time.Duration
			for range killings(t) {
				time.Sleep(rand.N(200 * time.Millisecond)) // the moment is what is random
				d.kill()
				held = append(held, w.pinned()...)
				began := time.Now()
				d = w.launch("", program("outwarden"))
				slow, busy = append(slow, time.Since(began)), append(busy, cpuOf(t, d.Process.Pid))
				w.await("the next one serves", func() bool { return w.status().Flows.Accepted > 0 })
			}
			slices.Sort(slow)
			slices.Sort(busy)
			t.Logf("until ready: %v, p99 %v; of CPU: %v, p99 %v", slow[len(slow)/2], slow[len(slow)*99/100], busy[len(busy)/2], busy[len(busy)*99/100])
			w.harmless(t, load, fail)
			w.kept(grab)
			if fail == "closed" {
				w.noneDirect()
			} else if w.direct() == 0 {
				t.Error("nothing passed under fail: open; were there no moments without a daemon?")
			}
			if r := w.outwarden("audit", "verify"); r.code != 0 {
				t.Errorf("audit verify: %v", r)
			}
			held = append(held, w.pinned()...)
			d.stop()
			sound(t, w.read("daemon.log"))
			if r := w.outwarden("detach"); r.code != 0 {
				t.Errorf("detach: %v", r)
			}
			w.gone(held)
			w.sameHost(before)
		})
	}
}

// cpuOf is how long the threads of a process have run.
func cpuOf(t *testing.T, pid int) (sum time.Duration) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	must(t, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		ran, _, _ := strings.Cut(string(b), " ")
		ns, err := strconv.ParseInt(ran, 10, 64)
		must(t, err)
		sum += time.Duration(ns)
	}
	return sum
}

// harmless ends a load of dials and fails the test if one hung, or was never served.
func (w *world) harmless(t *testing.T, load *process, fail string) {
	t.Helper()
	load.end()
	out := load.stdout.String()
	var well, refused, broke, hung int
	last := out[strings.LastIndex(out, "well "):]
	if _, err := fmt.Sscanf(last, "well %d refused %d broke %d hung %d", &well, &refused, &broke, &hung); err != nil {
		t.Fatalf("load: %v: %s %s", err, out, &load.stderr)
	}
	t.Log(strings.TrimSpace(last))
	if well == 0 || hung > 0 || strings.Contains(out, "strange:") {
		t.Errorf("load: %s", out)
	}
	if fail == "closed" && refused == 0 {
		t.Error("nothing was refused; were there no moments without a daemon?")
	}
}

// kept ends a grab for our ports and fails the test if it got one.
func (w *world) kept(grab *process) {
	w.t.Helper()
	grab.end()
	tries, got := 0, 0
	if _, err := fmt.Sscanf(strings.TrimPrefix(grab.stdout.String(), "ready\n"), "tries %d got %d", &tries, &got); err != nil {
		w.t.Fatalf("grab: %v: %s %s", err, &grab.stdout, &grab.stderr)
	}
	w.t.Log("binds tried:", tries)
	if tries == 0 || got > 0 {
		w.t.Errorf("%d of %d binds to our ports went well", got, tries)
	}
}

// fixedPorts is the configuration with ports of its own choice, which the daemon
// after the next needs again.
func (w *world) fixedPorts() string {
	return strings.Replace(w.read("outwarden.yaml"), "capture: {", "capture: {listen: [61001, 61002], ", 1)
}
