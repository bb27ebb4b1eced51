package capture

import (
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/flow"
)

// elsewhere4 is another destination that is captured.
const elsewhere4 = "203.0.113.10:80"

// unseen are ways to connect that nothing but the connect hooks leads to us.
var unseen = []struct {
	name  string
	to    string
	steps []step
}{
	{"TCP", server4, []step{{Do: "socket"}, {Do: "nonblock"}, {Do: "connect", Addr: server4}}},
	{"TCP, without its first thread", server4, []step{{Do: "headless"}, {Do: "socket"}, {Do: "nonblock"}, {Do: "connect", Addr: server4}}},
	{"TCP IPv6", server6, []step{{Do: "socket", IPv6: true}, {Do: "nonblock"}, {Do: "connect", Addr: server6}}},
	{"TCP mapped", server4, []step{{Do: "socket", IPv6: true}, {Do: "nonblock"}, {Do: "connect", Addr: mapped4}}},
	{"MPTCP", server4, []step{{Do: "socket", Kind: "mptcp"}, {Do: "nonblock"}, {Do: "connect", Addr: server4}}},
	{"bound", server4, []step{{Do: "socket"}, {Do: "bind", Addr: "10.9.0.1:0"}, {Do: "nonblock"}, {Do: "connect", Addr: server4}}},
	{"fast open", server4, []step{{Do: "socket"}, {Do: "nonblock"}, {Do: "fast", Addr: server4}}},
	{"our mark", server4, []step{{Do: "socket"}, {Do: "mark", Count: DefaultMark}, {Do: "nonblock"}, {Do: "connect", Addr: server4}}},
}

// TestUnseen: what the connect hooks would have led to us does not leave where
// somebody has detached them. It is counted, told once, and aborted at once.
func TestUnseen(t *testing.T) { eachBackend(t, testUnseen) }

func testUnseen(t *testing.T, b backend) {
	w := newWorld(t, b)
	o, events := newOracle(w), w.watch()
	w.testReconnected(o, events)
	for _, way := range unseen {
		if w.lacks(kindOf(way.steps)) {
			continue
		}
		t.Run(way.name, func(t *testing.T) {
			refused := w.abortNext(events)
			got := w.run(w.cgroup, slices.Concat([]step{{Do: "self"}}, way.steps, []step{{Do: "wait"}})...)
			e := <-refused
			if e.Flow.Original.String() != way.to || who(e.Flow) != got[0].Text {
				t.Errorf("event %+v, want %s by %s", e, way.to, got[0].Text)
			}
			w.unreached(t, o, got)
		})
	}
	w.testSeen(t)
	if len(events) != 0 {
		t.Errorf("told more: %+v", <-events)
	}
}

// testReconnected severs the hooks under a socket that they have led to us, which
// connects anew then: its old record says nothing of that.
func (w *world) testReconnected(o *oracle, events <-chan Event) {
	w.t.Helper()
	var refused <-chan Event
	got := w.runAround(func() {
		w.sever("connect4")
		w.sever("connect6")
		refused = w.abortNext(events)
	}, []step{{Do: "socket"}, {Do: "connect", Addr: server4}, {Do: "read"}, {Do: "disconnect"}},
		[]step{{Do: "nonblock"}, {Do: "connect", Addr: elsewhere4}, {Do: "wait"}})
	if got[2].Text != "captured "+server4 {
		w.t.Fatalf("before: %+v", got)
	}
	if e := <-refused; e.Flow.Original.String() != elsewhere4 {
		w.t.Errorf("event %+v, want %s", e, elsewhere4)
	}
	w.unreached(w.t, o, got)
}

// abortNext aborts the next connection that is refused as unseen, as the daemon does.
func (w *world) abortNext(events <-chan Event) <-chan Event {
	refused := make(chan Event, 1)
	go func() {
		e := <-events
		if e.Kind != EventDeny || e.Flow.Reason != flow.ReasonConnectUnseen || e.Flow.Verdict != flow.VerdictDeny {
			w.t.Errorf("event %+v, want it denied for %s", e, flow.ReasonConnectUnseen)
		}
		if err := w.capture.Abort(&e.Flow); err != nil {
			w.t.Errorf("abort: %v", err)
		}
		refused <- e
	}()
	return refused
}

// unreached checks that a connection was aborted, and that nothing of it has left.
func (w *world) unreached(t testing.TB, o *oracle, got []result) {
	t.Helper()
	if last := got[len(got)-1]; last.Err != unix.ECONNABORTED.Error() {
		t.Errorf("workload: %+v, want %q", got, unix.ECONNABORTED)
	}
	if packets := o.seen(); len(packets) != 0 {
		t.Errorf("left the host: %q", packets)
	}
}

// testSeen: what the connect hooks would have let pass still passes without them.
func (w *world) testSeen(t *testing.T) {
	for _, addr := range []string{server4, server6} {
		if got := w.answer(w.outside, addr); !strings.HasPrefix(got, "direct") {
			t.Errorf("out of scope, %s: %q", addr, got)
		}
	}
	if got := w.answer(w.cgroup, other4); !strings.HasPrefix(got, "direct") {
		t.Errorf("a port that is not captured: %q", got)
	}
	got := w.run(w.cgroup, step{Do: "socket"}, step{Do: "join", Addr: w.outside}, step{Do: "connect", Addr: server4}, step{Do: "read"})
	if !strings.HasPrefix(got[3].Text, "direct") {
		t.Errorf("a process that has left the scope: %+v", got)
	}
}

// TestUnseenFailOpen: under fail: open it passes.
func TestUnseenFailOpen(t *testing.T) {
	w := newWorld(t, rewrite, func(c *Config) { c.FailOpen = true })
	w.sever("connect4")
	if got := w.answer(w.cgroup, server4); !strings.HasPrefix(got, "direct") {
		t.Errorf("%q", got)
	}
}

// nowhere4 is an address of which nothing comes back.
const nowhere4 = "198.51.100.77:443"

// TestUnseenByTimer: a SYN that a timer sends again goes out within whatever runs,
// which may be another process of the same cgroup. Nothing is said of who it is.
func TestUnseenByTimer(t *testing.T) {
	w := newWorld(t, rewrite)
	events := w.watch()
	for range runtime.NumCPU() {
		w.spin(w.outside)
	}
	connecting := []step{{Do: "socket"}, {Do: "nonblock"}, {Do: "connect", Addr: nowhere4}}
	w.runIn(w.outside, func() {
		if err := w.capture.AddScope(w.outside); err != nil {
			t.Error(err)
		}
		e := <-events
		if e.Flow.Reason != flow.ReasonConnectUnseen || e.Flow.Original.String() != nowhere4 || e.Flow.Caller.PID != 0 {
			t.Errorf("event %+v, want %s to %s by nobody known", e, flow.ReasonConnectUnseen, nowhere4)
		}
	}, connecting, nil)
}

// spin keeps a processor busy from a cgroup until the test ends.
func (w *world) spin(cgroup string) {
	w.t.Helper()
	cmd := exec.Command("sh", "-c", "while :; do :; done")
	if err := w.host.Start(cmd, cgroup); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}
