package capture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// joined gives the processes that the kernel side says have come into scope.
func (w *world) joined() <-chan uint32 {
	ctx, cancel := context.WithCancel(context.Background())
	pids, ended := make(chan uint32, 100), make(chan struct{})
	go func() {
		defer close(ended)
		w.capture.Events(ctx, func(e Event) {
			if e.Kind == EventJoin {
				pids <- e.Flow.Caller.PID
			}
		})
	}()
	w.t.Cleanup(func() { cancel(); <-ended })
	return pids
}

// TestExisting: what a process had connected when it came into scope is found,
// and reset if one wants that; what we would not have captured is left alone.
func TestExisting(t *testing.T) {
	w := newWorld(t, rewrite)
	listenIn(t, w.internet, "203.0.113.10:80") // its connections stand, though nobody accepts them
	listenIn(t, w.internet, "203.0.113.10:8080")
	tests := []struct {
		name     string
		protocol uint8 // of what is found; 0: nothing
		steps    []step
	}{
		{"TCP", unix.IPPROTO_TCP, []step{{Do: "socket"}, {Do: "connect", Addr: "203.0.113.10:80"}}},
		{"TCP with a late SYN", unix.IPPROTO_TCP, late(step{Do: "socket"}, "203.0.113.10:80")},
		{"TCP mapped", unix.IPPROTO_TCP, []step{{Do: "socket", IPv6: true}, {Do: "connect", Addr: "[::ffff:203.0.113.10]:80"}}},
		{"TCP, uncaptured port", 0, []step{{Do: "socket"}, {Do: "connect", Addr: "203.0.113.10:8080"}}},
		{"UDP", unix.IPPROTO_UDP, []step{{Do: "socket", Kind: "udp"}, {Do: "connect", Addr: udp4}}},
		{"UDP IPv6", unix.IPPROTO_UDP, []step{{Do: "socket", Kind: "udp", IPv6: true}, {Do: "connect", Addr: udp6}}},
		{"UDP-Lite", unix.IPPROTO_UDPLITE, []step{{Do: "socket", Kind: "udplite"}, {Do: "connect", Addr: udp4}}},
		{"DNS", 0, []step{{Do: "socket", Kind: "udp"}, {Do: "connect", Addr: "203.0.113.10:53"}}},
	}
	joined := w.joined()
	for _, reset := range []bool{false, true} {
		for _, test := range tests {
			if w.lacks(test.steps[0].Kind) {
				<-joined // who was born in scope to try it
				continue
			}
			fixed := test.protocol == unix.IPPROTO_UDPLITE // the kernel cannot reset it: that is said, and it stays
			name := test.name
			if reset {
				name += ", reset"
			}
			t.Run(name, func(t *testing.T) {
				steps := append(slices.Clone(test.steps), step{Do: "join", Addr: w.cgroup})
				var found []Existing
				got := w.runIn(w.outside, func() {
					pid := <-joined
					var err error
					if found, err = w.capture.ExistingOf(pid, reset); err != nil {
						t.Error(err)
					}
					if again, err := w.capture.Existing(reset); err != nil || len(again) != 0 {
						t.Errorf("asked again: %+v, %v", again, err)
					}
					w.checkExisting(t, found, pid, test.protocol, test.steps[len(test.steps)-1].Addr)
					if reset && len(found) == 1 && fixed != errors.Is(found[0].Reset, unix.EOPNOTSUPP) {
						t.Errorf("reset: %v", found[0].Reset)
					}
				}, steps, []step{{Do: "write", Addr: "x"}})
				wrote := got[len(got)-1].Err
				if gone := reset && test.protocol != 0 && !fixed; gone != (wrote != "") {
					t.Errorf("write afterwards: %q", wrote)
				}
			})
		}
	}
}

// TestExistingByBirth: a process may be born into the scope, by clone3, with what its
// parent had connected outside. That is found as it is where one is moved there. What
// a child has until it executes is its parent's: a reset would be the parent's loss.
func TestExistingByBirth(t *testing.T) {
	w := newWorld(t, rewrite)
	const addr = "203.0.113.10:80"
	listenIn(t, w.internet, addr)
	joined := w.joined()
	for _, test := range []struct {
		name  string
		birth step
		held  bool
	}{
		{"forked", step{Do: "split", Addr: w.cgroup}, true},
		{"executed", step{Do: "spawn", Addr: w.cgroup}, true},
		{"executed without it", step{Do: "spawn", Addr: w.cgroup, Count: 1}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var found []Existing
			var pid uint32
			got := w.runIn(w.outside, func() {
				pid = <-joined
				var err error
				if found, err = w.capture.ExistingOf(pid, true); err != nil {
					t.Error(err)
				}
			}, []step{{Do: "socket"}, {Do: "connect", Addr: addr}, test.birth}, []step{{Do: "write", Addr: "x"}, {Do: "reap"}})
			if want := got[2].Text; want != fmt.Sprint(pid) {
				t.Fatalf("workload: %+v; %d has come into scope, want %s", got, pid, want)
			}
			protocol := uint8(unix.IPPROTO_TCP)
			if !test.held {
				protocol = 0
			}
			w.checkExisting(t, found, pid, protocol, addr)
			if wrote := got[4].Err; test.held != (wrote != "") {
				t.Errorf("write afterwards: %q", wrote)
			}
		})
	}
}

// TestNoJoin: who is born in scope of one that is there has nothing that was not
// looked at, and a thread is no birth.
func TestNoJoin(t *testing.T) {
	w := newWorld(t, rewrite)
	below := netnstest.Subgroup(t, w.cgroup, "below")
	joined := w.joined()
	got := w.run(w.cgroup, step{Do: "self"}, step{Do: "socket"},
		step{Do: "spawn", Addr: w.cgroup}, step{Do: "reap"}, step{Do: "spawn", Addr: below}, step{Do: "reap"},
		step{Do: "split", Addr: w.cgroup}, step{Do: "reap"})
	for _, r := range got {
		if r.Err != "" {
			t.Errorf("workload: %+v", got)
		}
	}
	last := w.run(w.cgroup, step{Do: "self"}) // born of the test, which is not in scope
	for _, r := range []result{got[0], last[0]} {
		var want uint32
		fmt.Sscan(r.Text, &want)
		if pid := <-joined; pid != want {
			t.Errorf("%d has come into scope, want %d; workload %+v", pid, want, got)
		}
	}
}

// TestExistingQUIC: a UDP socket that was connected before the first look was there
// before us; of one that a workload connects later that is not said, as the hooks
// have seen to it all along.
func TestExistingQUIC(t *testing.T) {
	w := newWorld(t, rewrite)
	for look, want := range []int{1, 0} {
		w.runAround(func() {
			found, err := w.capture.Existing(false)
			if err != nil || len(found) != want {
				t.Errorf("look %d: %+v, %v, want %d", look, found, err, want)
			}
		}, []step{{Do: "socket", Kind: "udp"}, {Do: "connect", Addr: udp4}}, nil)
	}
}

// TestExistingOfThreads: the first thread of a process can end before the others, and
// any thread can have descriptors of its own. What it holds is found as any other.
func TestExistingOfThreads(t *testing.T) {
	w := newWorld(t, rewrite)
	const addr = "203.0.113.10:80"
	listenIn(t, w.internet, addr)
	for _, way := range []string{"headless", "apart"} {
		t.Run(way, func(t *testing.T) {
			got := w.runIn(w.outside, func() {
				found, err := w.capture.Existing(true)
				if err != nil || len(found) != 1 || found[0].Remote != unmapped(addr) || found[0].Reset != nil {
					t.Errorf("found %+v, %v, want the connection to %s", found, err, addr)
				}
			}, []step{{Do: way}, {Do: "socket"}, {Do: "connect", Addr: addr}, {Do: "join", Addr: w.cgroup}}, []step{{Do: "write", Addr: "x"}})
			if got[len(got)-1].Err == "" {
				t.Errorf("it was not reset: %+v", got)
			}
		})
	}
}

// kindOf is the kind of the socket that is made.
func kindOf(steps []step) string {
	return steps[slices.IndexFunc(steps, func(s step) bool { return s.Do == "socket" })].Kind
}

func (w *world) checkExisting(t *testing.T, found []Existing, pid uint32, protocol uint8, addr string) {
	t.Helper()
	if protocol == 0 {
		if len(found) != 0 {
			t.Errorf("found %+v, want nothing", found)
		}
		return
	}
	if len(found) != 1 {
		t.Fatalf("found %+v, want one", found)
	}
	e := found[0]
	if e.PID != pid || e.Protocol != protocol || e.Cookie == 0 || e.Remote != unmapped(addr) {
		t.Errorf("found %+v, want protocol %d to %s by %d", e, protocol, addr, pid)
	}
}
