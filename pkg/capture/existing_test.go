package capture

import (
	"context"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
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
					w.checkExisting(t, found, pid, test.protocol, steps[1].Addr)
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
