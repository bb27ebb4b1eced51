package capture

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const refused = "operation not permitted"

// leave is what kill -9 leaves of the interceptor: its sockets and descriptors are gone, the pins stay.
func (w *world) leave() {
	w.t.Helper()
	for _, l := range w.listeners {
		l.Close()
	}
	if err := w.capture.Close(); err != nil {
		w.t.Fatal(err)
	}
}

// relisten opens other listeners, as a new process would.
func (w *world) relisten() {
	for _, l := range w.listeners {
		l.Close()
	}
	w.listen()
	w.config.Listen = nil
	for _, l := range w.listeners {
		w.config.Listen = append(w.config.Listen, addrPort(l.Addr()))
	}
}

// squat has somebody listen on the ports that were ours. As binds are refused to
// strangers it is us, without a tag: whoever stood there first looks like that.
func (w *world) squat() {
	w.t.Helper()
	config := net.ListenConfig{Control: w.capture.Control}
	config.SetMultipathTCP(false)
	for _, addr := range w.config.Listen {
		var l net.Listener
		var err error
		w.host.Do(func() { l, err = config.Listen(context.Background(), "tcp", addr.String()) })
		if err != nil {
			w.t.Fatal(err)
		}
		w.serve(l, func(c net.Conn) { fmt.Fprintln(c, "squatter") })
	}
}

func TestFailPolicy(t *testing.T) { eachBackend(t, testFailPolicy) }

func testFailPolicy(t *testing.T, b backend) {
	addrs := []string{server4, server6, mapped4}
	for _, open := range []bool{false, true} {
		t.Run(fmt.Sprintf("open %v", open), func(t *testing.T) {
			want := refused
			if open {
				want = "direct"
			}
			w := newWorld(t, b, func(c *Config) { c.FailOpen = open })
			check := func(when string) {
				t.Helper()
				for _, addr := range addrs {
					if got := w.answer(w.cgroup, addr); !strings.HasPrefix(got, want) {
						t.Errorf("%s, %s: %q, want %s", when, addr, got, want)
					}
					if got := w.answer(w.outside, addr); !strings.HasPrefix(got, "direct") {
						t.Errorf("%s, out of scope, %s: %q", when, addr, got)
					}
				}
			}
			if got := w.answer(w.cgroup, server4); got != "captured "+server4 {
				t.Fatalf("alive: %q", got)
			}
			w.leave()
			check("dead")
			w.squat()
			check("squatted")

			w.relisten()
			w.open()
			if gone, foreign := w.counter("listener_gone"), w.counter("listener_foreign"); gone != 3 || foreign != 3 {
				t.Errorf("listener_gone = %d, listener_foreign = %d; want 3 each", gone, foreign)
			}
			for _, addr := range addrs {
				if got := w.answer(w.cgroup, addr); !strings.HasPrefix(got, "captured") {
					t.Errorf("taken over, %s: %q", addr, got)
				}
			}
		})
	}
}

// TestOneListenerGone: as long as one of our listeners lives, it takes all.
func TestOneListenerGone(t *testing.T) {
	w := newWorld(t, rewrite)
	w.listeners[0].Close()
	w.listeners[1].Close()
	for range 10 {
		for _, addr := range []string{server4, server6} {
			if got := w.answer(w.cgroup, addr); got != "captured "+addr {
				t.Fatalf("%s: %q", addr, got)
			}
		}
	}
}

// TestUntagged: between Open and TagListener the fail policy answers.
func TestUntagged(t *testing.T) {
	w := newWorld(t, rewrite)
	if err := w.capture.Close(); err != nil {
		t.Fatal(err)
	}
	w.relisten()
	c, err := Open(w.config)
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.capture = c
	w.mu.Unlock()
	defer c.Close()
	if got := w.answer(w.cgroup, server4); got != refused {
		t.Errorf("before the tag: %q", got)
	}
	for _, l := range w.listeners {
		if _, err := c.TagListener(l); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.answer(w.cgroup, server4); got != "captured "+server4 {
		t.Errorf("after the tag: %q", got)
	}
}

// TestBoundDevice: without CAP_NET_RAW a socket cannot be freed from its
// device, and has no way to our listener.
func TestBoundDevice(t *testing.T) {
	w := newWorld(t, rewrite)
	steps := []step{{Do: "socket"}, {Do: "device", Addr: w.device()}, {Do: "drop"}, {Do: "connect", Addr: server4}}
	if got := w.run(w.cgroup, steps...); got[3].Err != refused {
		t.Errorf("connect: %q, want %q", got[3].Err, refused)
	}
	if n := w.counter("bound_device"); n != 1 {
		t.Errorf("bound_device = %d, want 1", n)
	}
}

// TestMapFull: when records do not fit, the fail policy answers, and all of it is counted.
func TestMapFull(t *testing.T) {
	w := newWorld(t, rewrite)
	keys := make([]outwardenTuple, w.capture.maps.Flows.MaxEntries())
	records := slices.Repeat([]outwardenFlow{{At: uint64(sinceBoot())}}, len(keys))
	for i := range keys {
		keys[i].Zero = uint32(i + 1)
	}
	if _, err := w.capture.maps.Flows.BatchUpdate(keys, records, nil); err != nil {
		t.Fatal(err)
	}
	// In one go: a second later it would be worth a try again.
	got := w.run(w.cgroup, step{Do: "socket"}, step{Do: "connect", Addr: server4}, step{Do: "read"}, step{Do: "socket"}, step{Do: "connect", Addr: server4})
	if ended := cmp.Or(got[1].Err, got[2].Err); ended != "connection reset by peer" {
		t.Errorf("the connect that finds out: %+v", got)
	}
	if got[4].Err != refused {
		t.Errorf("the connect after it: %+v", got)
	}
	if lost, full := w.counter("records_lost"), w.counter("map_full"); lost != 1 || full != 1 {
		t.Errorf("records_lost = %d, map_full = %d; want 1 each", lost, full)
	}
	w.capture.removeOlder(sinceBoot() + time.Second)
	if n := w.records(); n != 0 {
		t.Errorf("%d records after the sweep", n)
	}
}

// TestBurden: a workload can have so much beside its socket that what we keep there
// does not fit. That is no failure of ours, which fail open would let pass.
func TestBurden(t *testing.T) {
	for _, open := range []bool{false, true} {
		t.Run(fmt.Sprint("fail open ", open), func(t *testing.T) {
			w := newWorld(t, rewrite, func(c *Config) { c.FailOpen = open })
			got := w.run(w.cgroup, step{Do: "socket"}, step{Do: "burden"}, step{Do: "connect", Addr: server4})
			if got[1].Err != "" || got[2].Err != refused {
				t.Errorf("%+v, want it refused", got)
			}
			if n := w.counter("map_full"); n != 1 {
				t.Errorf("map_full = %d, want 1", n)
			}
		})
	}
}

// TestContested: when two sockets claim a tuple, neither gets the other's identity.
func TestContested(t *testing.T) {
	w := newWorld(t, rewrite, func(c *Config) { c.Listen = c.Listen[:1] })
	key := toTuple(w.capture.Netns(), w.config.Listen[0], netip.MustParseAddrPort("127.0.0.1:40405"))
	if err := w.capture.maps.Flows.Put(&key, &outwardenFlow{Cookie: 1, At: uint64(sinceBoot())}); err != nil {
		t.Fatal(err)
	}
	got := w.run(w.cgroup, step{Do: "socket"}, step{Do: "bind", Addr: "0.0.0.0:40405"}, step{Do: "connect", Addr: server4}, step{Do: "read"})
	ended := cmp.Or(got[2].Err, got[3].Err) // a reset may be faster than the return from connect()
	if known, _ := w.accepted(); ended != "connection reset by peer" || known != 0 {
		t.Errorf("%+v with %d flows, want a reset and none", got, known)
	}
	if n := w.counter("records_contested"); n != 1 {
		t.Errorf("records_contested = %d, want 1", n)
	}
}

// TestContestedBySelf: a socket that was reset before we accepted it, and connects
// anew from the same port, maybe in other hands, has two connections under one tuple.
// The first does not get the record of the second.
func TestContestedBySelf(t *testing.T) {
	w := newWorld(t, rewrite, func(c *Config) { c.Listen = c.Listen[:1] })
	goOn := w.detain()
	cmd, out, err := w.start(w.cgroup, "/proc/self/exe", nil, []step{{Do: "socket"}, {Do: "bind", Addr: "0.0.0.0:40407"},
		{Do: "connect", Addr: "203.0.113.10:80"}, {Do: "disconnect"}, {Do: "connect", Addr: server4}, {Do: "read"}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		if i == 5 {
			close(goOn)
		}
		r, err := readResult(out)
		if err != nil || i < 5 && r.Err != "" {
			t.Fatalf("step %d: %+v, %v", i, r, err)
		}
		if i == 5 && r.Err != unix.ECONNRESET.Error() {
			t.Errorf("the second: %+v, want a reset", r)
		}
	}
	w.finish(cmd)
	w.drain()
	if known, _ := w.accepted(); known != 0 {
		t.Errorf("%d flows of two connections that cannot be told apart: %+v", known, w.flows)
	}
	if n := w.counter("records_contested"); n != 1 {
		t.Errorf("records_contested = %d, want 1", n)
	}
}

// TestContestedFollowed: behind a contested connection wait those that contested it.
// Others with that tuple may have been connected since; their records are not given to
// them, and who comes when all have been accepted is known again.
func TestContestedFollowed(t *testing.T) {
	w := newWorld(t, rewrite)
	local, remote := w.config.Listen[0], netip.MustParseAddrPort("127.0.0.1:40408")
	key := toTuple(w.capture.Netns(), local, remote)
	const none = 0 // no record is found
	publish := func(cookie uint64, contested uint32) {
		record := outwardenFlow{Cookie: cookie, At: uint64(sinceBoot()), Contested: contested}
		if err := w.capture.maps.Flows.Put(&key, &record); err != nil {
			t.Fatal(err)
		}
	}
	type accepted struct {
		cookie uint64
		by     uint32 // so many contest it
		known  bool
	}
	for name, order := range map[string][]accepted{
		"nobody follows":        {{1, 1, false}, {none, 0, false}, {3, 0, true}},
		"another follows":       {{1, 1, false}, {3, 0, false}, {none, 0, false}, {4, 0, true}},
		"by two":                {{1, 2, false}, {none, 0, false}, {4, 0, false}, {none, 0, false}, {5, 0, true}},
		"the next is contested": {{1, 1, false}, {3, 1, false}, {none, 0, false}, {none, 0, false}, {5, 0, true}},
	} {
		t.Run(name, func(t *testing.T) {
			for i, a := range order {
				if a.cookie != none {
					publish(a.cookie, a.by)
				}
				if f, known := w.capture.Lookup(local, remote); known != a.known || known && f.Cookie != a.cookie {
					t.Errorf("the %d. accepted: %v, %+v", i+1, known, f)
				}
			}
		})
	}
	if c := w.capture; len(c.doubts.tuples) > 0 || c.doubts.any.Load() {
		t.Errorf("left: %+v", c.doubts.tuples)
	}
	publish(1, 1)
	w.capture.Lookup(local, remote)
	w.capture.doubts.forget(sinceBoot()) // the other never came
	publish(3, 0)
	if f, known := w.capture.Lookup(local, remote); !known || f.Cookie != 3 {
		t.Errorf("after the sweep: %v, %+v", known, f)
	}
}

// TestEventsFull: what nobody reads is lost and counted; no verdict depends on it.
func TestEventsFull(t *testing.T) {
	w := newWorld(t, rewrite)
	const most = 1<<20/(112+8) + 1 // struct event and its header
	if err := w.capture.SetPorts([]uint16{443}); err != nil {
		t.Fatal(err)
	}
	steps := []step{{Do: "socket", Kind: "udp"}, {Do: "flood", Addr: udp4, Count: most}}
	if got := w.run(w.cgroup, steps...); got[1].Err != refused {
		t.Fatalf("flood: %+v", got)
	}
	if n := w.counter("events_lost"); n == 0 {
		t.Fatal("the ring buffer took all of it")
	}
	lost := w.counter("events_lost")
	for addr, want := range map[string]string{server4: "captured", server6: "captured", other4: "direct"} {
		if got := w.answer(w.cgroup, addr); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %s", addr, got, want)
		}
	}
	w.mustSend(w.cgroup, refused)
	if n := w.counter("events_lost"); n < lost+2 { // of the uncaptured port and of the raw socket
		t.Errorf("events_lost = %d, was %d", n, lost)
	}
	if sent, seen := w.counter("quic_refused"), uint64(most); sent != seen {
		t.Errorf("quic_refused = %d, want %d", sent, seen)
	}
}

// TestScopesFull: a cgroup that does not fit is told of, and nothing else changes.
func TestScopesFull(t *testing.T) {
	w := newWorld(t, rewrite)
	for i := range uint64(w.capture.maps.Scopes.MaxEntries()) - 1 {
		if err := w.capture.maps.Scopes.Put(1<<60+i, scopeExclude); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.capture.AddScope(w.outside); err == nil {
		t.Error("a cgroup too many was taken")
	}
	if got := w.answer(w.cgroup, server4); got != "captured "+server4 {
		t.Errorf("in scope: %q", got)
	}
	if got := w.answer(w.outside, server4); !strings.HasPrefix(got, "direct") {
		t.Errorf("out of scope: %q", got)
	}
}
