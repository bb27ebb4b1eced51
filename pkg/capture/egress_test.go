package capture

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/netnstest"
)

const (
	udp4 = "203.0.113.10:443"
	udp6 = "[2001:db8:f::10]:443"
)

// leaks are ways to send something that connect() never sees: each by the last step.
var leaks = []struct {
	name   string
	reason flow.Reason
	steps  []step
}{
	{"connected UDP", flow.ReasonQUICRefused, []step{{Do: "socket", Kind: "udp"}, {Do: "connect", Addr: udp4}, {Do: "write", Addr: "x"}}},
	{"connected UDP IPv6", flow.ReasonQUICRefused, []step{{Do: "socket", Kind: "udp", IPv6: true}, {Do: "connect", Addr: udp6}, {Do: "write", Addr: "x"}}},
	{"connected UDP mapped", flow.ReasonQUICRefused, []step{{Do: "socket", Kind: "udp", IPv6: true}, {Do: "connect", Addr: mapped4}, {Do: "write", Addr: "x"}}},
	{"connected UDP-Lite", flow.ReasonQUICRefused, []step{{Do: "socket", Kind: "udplite"}, {Do: "connect", Addr: udp4}, {Do: "write", Addr: "x"}}},
	{"UDP", flow.ReasonQUICRefused, []step{{Do: "socket", Kind: "udp"}, {Do: "sendto", Addr: udp4}}},
	{"UDP IPv6", flow.ReasonQUICRefused, []step{{Do: "socket", Kind: "udp", IPv6: true}, {Do: "sendto", Addr: udp6}}},
	{"UDP mapped", flow.ReasonQUICRefused, []step{{Do: "socket", Kind: "udp", IPv6: true}, {Do: "sendto", Addr: mapped4}}},
	{"UDP-Lite", flow.ReasonQUICRefused, []step{{Do: "socket", Kind: "udplite"}, {Do: "sendto", Addr: udp4}}},
	{"UDP connected elsewhere", flow.ReasonQUICRefused, []step{{Do: "socket", Kind: "udp"}, {Do: "connect", Addr: "203.0.113.10:53"}, {Do: "sendto", Addr: udp4}}},
	{"ping", flow.ReasonRawSocket, []step{{Do: "socket", Kind: "ping"}, {Do: "sendto", Addr: "203.0.113.10:0"}}},
	{"ping IPv6", flow.ReasonRawSocket, []step{{Do: "socket", Kind: "ping", IPv6: true}, {Do: "sendto", Addr: "[2001:db8:f::10]:0"}}},
	{"raw", flow.ReasonRawSocket, []step{{Do: "socket", Kind: "raw"}, {Do: "sendto", Addr: "203.0.113.10:0"}}},
	{"raw IPv6", flow.ReasonRawSocket, []step{{Do: "socket", Kind: "raw", IPv6: true}, {Do: "sendto", Addr: "[2001:db8:f::10]:0"}}},
	{"raw with a SYN", flow.ReasonRawSocket, []step{{Do: "socket", Kind: "header"}, {Do: "sendto", Addr: server4}}},
}

// TestLeaks: what goes past connect() is refused at once, counted and told, and
// nothing of it leaves the host. Out of scope the same way is open, which shows
// that the test would see a packet.
func TestLeaks(t *testing.T) {
	w := newWorld(t, rewrite)
	allowPing(w)
	o, events := newOracle(w), w.watch()
	for _, leak := range leaks {
		if w.lacks(leak.steps[0].Kind) {
			continue
		}
		t.Run(leak.name, func(t *testing.T) {
			last := len(leak.steps)
			if got := w.run(w.outside, leak.steps...); got[last-1].Err != "" {
				t.Fatalf("out of scope: %+v", got)
			}
			if len(o.seen()) == 0 {
				t.Fatal("out of scope: the packet was not seen")
			}
			before := w.counter(leak.reason.String())
			got := w.run(w.cgroup, append([]step{{Do: "self"}}, leak.steps...)...)
			if got[last].Err != refused && leak.name != "ping IPv6" { // of which the kernel tells its owner nothing
				t.Errorf("in scope: %+v, want %q", got, refused)
			}
			if packets := o.seen(); len(packets) != 0 {
				t.Errorf("packets left: %q", packets)
			}
			if n := w.counter(leak.reason.String()) - before; n != 1 {
				t.Errorf("%s = %d, want 1", leak.reason, n)
			}
			e := <-events
			if e.Kind != EventDeny || e.Flow.Reason != leak.reason || e.Flow.Verdict != flow.VerdictDeny || who(e.Flow) != got[0].Text {
				t.Errorf("event %+v, want it denied for %s by %s", e, leak.reason, got[0].Text)
			}
			if !strings.Contains("203.0.113.10 2001:db8:f::10", e.Flow.Original.Addr().String()) || e.Flow.Cookie == 0 {
				t.Errorf("event %+v, want destination and cookie", e)
			}
		})
	}
}

// allowPing lets nobody in particular use ping sockets.
func allowPing(w *world) {
	w.t.Helper()
	w.host.Do(func() {
		if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 2147483647"), 0o644); err != nil {
			w.t.Fatal(err)
		}
	})
}

// watch gives the verdicts that the kernel side reports, until the test ends.
func (w *world) watch() <-chan Event {
	ctx, cancel := context.WithCancel(context.Background())
	events, ended := make(chan Event, 1000), make(chan struct{})
	go func() {
		defer close(ended)
		w.capture.Events(ctx, func(e Event) {
			if e.Kind == EventPass || e.Kind == EventDeny {
				events <- e
			}
		})
	}()
	w.t.Cleanup(func() { cancel(); <-ended })
	return events
}

// TestEgressPasses: what is no leak is left alone, and so is what stays on the host.
func TestEgressPasses(t *testing.T) {
	w := newWorld(t, rewrite)
	allowPing(w)
	for name, steps := range map[string][]step{
		"DNS":                   {{Do: "socket", Kind: "udp"}, {Do: "connect", Addr: "203.0.113.10:53"}, {Do: "write", Addr: "x"}},
		"getaddrinfo":           {{Do: "socket", Kind: "udp"}, {Do: "connect", Addr: udp4}, {Do: "names"}},
		"ping loopback":         {{Do: "socket", Kind: "ping"}, {Do: "sendto", Addr: "127.0.0.1:0"}},
		"ping loopback, IPv6":   {{Do: "socket", Kind: "ping", IPv6: true}, {Do: "sendto", Addr: "[::1]:0"}},
		"ping our own address":  {{Do: "socket", Kind: "ping"}, {Do: "sendto", Addr: "10.9.0.1:0"}},
		"uncaptured connection": {{Do: "socket"}, {Do: "connect", Addr: other4}, {Do: "read"}},
	} {
		for _, r := range w.run(w.cgroup, steps...) {
			if r.Err != "" {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
	if n := w.counter("denied"); n != 0 {
		t.Errorf("denied = %d", n)
	}
}

// TestRawRecorded: where raw sockets may pass they are told of, once for each socket.
func TestRawRecorded(t *testing.T) {
	w := newWorld(t, rewrite, func(c *Config) { c.AllowRaw = true })
	o, events := newOracle(w), w.watch()
	send := step{Do: "sendto", Addr: "203.0.113.10:0"}
	got := w.run(w.cgroup, step{Do: "socket", Kind: "raw"}, send, send, send)
	if got[3].Err != "" || len(o.seen()) != 3 {
		t.Errorf("workload: %+v, want three packets sent", got)
	}
	if e := <-events; e.Kind != EventPass || e.Flow.Reason != flow.ReasonRawSocket || len(events) != 0 {
		t.Errorf("event %+v and %d more, want one", e, len(events))
	}
	if n := w.counter("raw_socket"); n != 3 {
		t.Errorf("raw_socket = %d, want 3", n)
	}
}

// TestSourceRoute: a socket whose packets would go by another address than their
// destination is not redirected, for it would not arrive.
func TestSourceRoute(t *testing.T) {
	w := newWorld(t, rewrite)
	o := newOracle(w)
	steps := []step{{Do: "become"}, {Do: "socket", IPv6: true}, {Do: "detour", Addr: "2001:db8:9::2"}, {Do: "nonblock"}, {Do: "connect", Addr: server6}}
	if got := w.run(w.outside, steps...); len(o.seen()) == 0 {
		t.Fatalf("out of scope: %+v, want a packet sent", got)
	}
	if got := w.run(w.cgroup, steps...); got[4].Err != refused {
		t.Errorf("in scope: %+v, want %q", got, refused)
	}
	if packets := o.seen(); len(packets) != 0 || w.counter("source_route") != 1 {
		t.Errorf("packets %q, source_route = %d; want none, and 1", packets, w.counter("source_route"))
	}
}

// TestStrayed: a redirected connection cannot be led away from loopback afterwards.
func TestStrayed(t *testing.T) {
	w := newWorld(t, rewrite)
	o := newOracle(w)
	got := w.run(w.cgroup, step{Do: "become"}, step{Do: "socket", IPv6: true}, step{Do: "connect", Addr: server6}, step{Do: "read"},
		step{Do: "detour", Addr: "2001:db8:9::2"}, step{Do: "device", Addr: w.device()}, step{Do: "write", Addr: "secret"})
	if got[3].Text != "captured "+server6 {
		t.Fatalf("workload: %+v", got)
	}
	if packets := o.seen(); len(packets) != 0 || w.counter("strayed") == 0 {
		t.Errorf("packets %q, strayed = %d; want none, and some", packets, w.counter("strayed"))
	}
}

// TestFencesFollowTheScope: the egress program stands at the outermost cgroups in
// scope and nowhere else, through changes, a take-over and the end of a cgroup.
func TestFencesFollowTheScope(t *testing.T) {
	w := newWorld(t, rewrite)
	inner := netnstest.Subgroup(t, w.cgroup, "inner")
	exempt := netnstest.Subgroup(t, inner, "exempt")
	check := func(when string, want ...string) {
		t.Helper()
		var ids []uint64
		for _, dir := range want {
			id, err := cgroupID(dir)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		if got := w.fenced(); !sameIDs(got, ids) {
			t.Errorf("%s: at %v, want %v", when, got, ids)
		}
	}
	do := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	check("at first", w.cgroup)
	do(w.capture.AddScope(inner), w.capture.Exclude(exempt))
	check("one within another", w.cgroup)
	w.mustSend(exempt, "")
	w.mustSend(inner, refused)
	do(w.capture.RemoveScope(w.cgroup))
	check("the outer is gone", inner)
	w.mustSend(w.cgroup, "")
	do(w.capture.AddScope(w.cgroup))
	check("the outer is back", w.cgroup)

	w.leave()
	w.mustSend(inner, refused) // nobody is there, and it stands
	w.relisten()
	w.open()
	check("taken over", w.cgroup)
	w.mustSend(inner, refused)
	do(w.capture.AddScope(w.outside))
	check("beside it", w.cgroup, w.outside)
	_, err := w.capture.SetScope(Names{Paths: []string{inner}}, Names{})
	do(err)
	check("set anew", inner)
	w.mustSend(exempt, refused)

	gone := netnstest.Subgroup(t, w.outside, "gone")
	do(w.capture.AddScope(gone))
	check("one more", inner, gone)
	w.leave()
	do(os.Remove(gone))
	w.relisten()
	w.open()
	check("one cgroup has gone", inner)
}

// mustSend sends a raw packet from a cgroup, and wants this error.
func (w *world) mustSend(cgroup, want string) {
	w.t.Helper()
	got := w.run(cgroup, step{Do: "socket", Kind: "raw"}, step{Do: "sendto", Addr: "203.0.113.10:0"})
	if got[1].Err != want {
		w.t.Errorf("%s: %+v, want %q", cgroup, got, want)
	}
}

// fenced lists the cgroups that the pins say have the egress program.
func (w *world) fenced() (ids []uint64) {
	w.t.Helper()
	names, err := pins(w.config.PinDir)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range names {
		if id, ok := fencedBy(name); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

func sameIDs(a, b []uint64) bool {
	in := map[uint64]bool{}
	for _, id := range a {
		in[id] = true
	}
	for _, id := range b {
		if !in[id] {
			return false
		}
	}
	return len(a) == len(b)
}

// TestWipedPins: who empties the directory takes nothing away from a living interceptor.
func TestWipedPins(t *testing.T) {
	w := newWorld(t, rewrite)
	names, err := pins(w.config.PinDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Remove(w.config.PinDir + "/" + name); err != nil {
			t.Fatal(err)
		}
	}
	for _, addr := range []string{server4, server6} {
		if got := w.answer(w.cgroup, addr); got != "captured "+addr {
			t.Errorf("%s: %q", addr, got)
		}
	}
	w.mustSend(w.cgroup, refused)
	for _, l := range w.listeners {
		l.Close()
	}
	if got := w.answer(w.cgroup, server4); got != refused {
		t.Errorf("without a listener: %q", got)
	}
}
