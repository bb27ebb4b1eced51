package capture

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// bypass is one way by which a workload may try to reach the internet past us.
type bypass struct {
	name  string
	steps []step
	raw   bool // needs CAP_NET_RAW to be tried at all
}

// bypasses are the attacks that each layer alone was seen to miss. A workload
// that moves in or is handed a socket is looked at further below.
func bypasses(device, outside string) []bypass {
	socket, socket6 := step{Do: "socket"}, step{Do: "socket", IPv6: true}
	udp, udpOver6 := step{Do: "socket", Kind: "udp"}, step{Do: "socket", Kind: "udp", IPv6: true}
	return []bypass{
		{"connect", []step{socket, {Do: "connect", Addr: server4}}, false},
		{"connect IPv6", []step{socket6, {Do: "connect", Addr: server6}}, false},
		{"connect mapped", []step{socket6, {Do: "connect", Addr: mapped4}}, false},
		{"fast open by connect", []step{socket, {Do: "faster"}, {Do: "connect", Addr: server4}, {Do: "write", Addr: "x"}}, false},
		{"fast open by sendto", []step{socket, {Do: "fast", Addr: server4}}, false},
		{"io_uring", []step{socket, {Do: "uring", Addr: server4}}, false},
		{"MPTCP", []step{{Do: "socket", Kind: "mptcp"}, {Do: "connect", Addr: server4}}, false},
		{"connected UDP", []step{udp, {Do: "connect", Addr: udp4}, {Do: "write", Addr: "x"}}, false},
		{"UDP", []step{udp, {Do: "sendto", Addr: udp4}}, false},
		{"UDP IPv6", []step{udpOver6, {Do: "sendto", Addr: udp6}}, false},
		{"UDP mapped", []step{udpOver6, {Do: "sendto", Addr: mapped4}}, false},
		{"UDP-Lite", []step{{Do: "socket", Kind: "udplite"}, {Do: "sendto", Addr: udp4}}, false},
		{"ping", []step{{Do: "socket", Kind: "ping"}, {Do: "sendto", Addr: "203.0.113.10:0"}}, false},
		{"raw", []step{{Do: "socket", Kind: "raw"}, {Do: "sendto", Addr: "203.0.113.10:0"}}, true},
		{"raw with a SYN", []step{{Do: "socket", Kind: "header"}, {Do: "sendto", Addr: server4}}, true},
		{"device", []step{socket, {Do: "device", Addr: device}, {Do: "connect", Addr: server4}}, false},
		{"leave the cgroup", []step{socket, {Do: "join", Addr: outside}, {Do: "connect", Addr: server4}}, false},
		{"our mark", []step{socket, {Do: "mark", Count: DefaultMark}, {Do: "connect", Addr: server4}}, true},
		{"routing header", []step{socket6, {Do: "detour", Addr: "2001:db8:9::2"}, {Do: "nonblock"}, {Do: "connect", Addr: server6}}, false},
		{"routing header, later", []step{socket6, {Do: "connect", Addr: server6}, {Do: "detour", Addr: "2001:db8:9::2"}, {Do: "device", Addr: device}, {Do: "write", Addr: "x"}}, false},
		{"routing header before a late SYN", append(late(socket6, server6), step{Do: "detour", Addr: "2001:db8:9::2"}, step{Do: "device", Addr: device}, step{Do: "nonblock"}, step{Do: "write", Addr: "x"}, step{Do: "block"}), false},
		{"device before a late SYN", append(late(socket, server4), step{Do: "device", Addr: device}, step{Do: "nonblock"}, step{Do: "write", Addr: "x"}, step{Do: "block"}), false},
	}
}

// late connects without a packet: the SYN goes with what is written first.
func late(socket step, addr string) []step {
	return []step{socket, {Do: "faster"}, {Do: "fastest"}, {Do: "connect", Addr: addr}}
}

// privileges are what a workload may be: nobody, and what a container's default is.
var privileges = []struct {
	name         string
	capabilities int
}{
	{"unprivileged", 0},
	{"CAP_NET_RAW", 1 << unix.CAP_NET_RAW},
}

// TestBypass: no attack brings a packet to the internet. Root out of scope tries
// the same first, to show that there is something to see.
func TestBypass(t *testing.T) {
	w := newWorld(t, rewrite)
	allowPing(w)
	o := newOracle(w)
	for _, b := range bypasses(w.device(), w.outside) {
		if w.lacks(b.steps[0].Kind) {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			w.run(w.outside, b.steps...)
			if len(o.seen()) == 0 {
				t.Fatal("out of scope: nothing was seen, so the test would see nothing in scope either")
			}
			for _, p := range privileges {
				steps := slices.Concat([]step{{Do: "become", Count: p.capabilities}}, b.steps)
				got := w.run(w.cgroup, steps...)
				if packets := o.seen(); len(packets) != 0 {
					t.Errorf("%s: %+v: packets %q", p.name, got, packets)
				}
				if tried := got[len(got)-1].Err == "" || got[len(got)-1].Err == refused; p.capabilities != 0 && !tried && b.name != "leave the cgroup" && !strings.Contains(b.name, "routing") {
					t.Errorf("%s: %+v: the attack was not tried", p.name, got)
				}
			}
		})
	}
}

// TestFrames is a limit: a frame that is made below IP meets no hook of a
// cgroup. Who holds CAP_NET_RAW in scope is therefore told (see FrameSenders).
func TestFrames(t *testing.T) {
	w := newWorld(t, rewrite)
	o := newOracle(w)
	frame := step{Do: "frame", Addr: w.device() + " " + server4}
	if got := w.run(w.cgroup, step{Do: "become"}, frame); got[1].Err != refused || len(o.seen()) != 0 {
		t.Errorf("unprivileged: %+v", got)
	}
	var senders []Workload
	var err error
	got := w.runIn(w.cgroup, func() { senders, err = w.capture.FrameSenders() },
		[]step{{Do: "self"}, {Do: "become", Count: 1 << unix.CAP_NET_RAW}, frame}, nil)
	if len(o.seen()) != 1 {
		t.Errorf("CAP_NET_RAW: %+v: the documented limit is none any more", got)
	}
	var pid int
	fmt.Sscan(got[0].Text, &pid)
	if err != nil || len(senders) != 1 || senders[0].PID != pid {
		t.Errorf("frame senders %v, %v; want %d", senders, err, pid)
	}
}

// TestBypassByAge: a socket that is older than its process's place in the scope,
// or was made outside and handed in, is captured when it is used, and reset
// where it was connected before.
func TestBypassByAge(t *testing.T) {
	w := newWorld(t, rewrite)
	o, joined := newOracle(w), w.joined()
	listenIn(t, w.internet, "203.0.113.10:80")
	join := step{Do: "join", Addr: w.cgroup}
	for _, age := range []struct {
		name          string
		before, after []step
	}{
		{"TCP connect", []step{{Do: "socket"}}, []step{{Do: "connect", Addr: server4}}},
		{"UDP sendto", []step{{Do: "socket", Kind: "udp"}}, []step{{Do: "sendto", Addr: udp4}}},
		{"TCP reuse", []step{{Do: "socket"}, {Do: "connect", Addr: "203.0.113.10:80"}}, []step{{Do: "write", Addr: "x"}}},
		{"UDP reuse", []step{{Do: "socket", Kind: "udp"}, {Do: "connect", Addr: udp4}}, []step{{Do: "write", Addr: "x"}}},
	} {
		t.Run(age.name, func(t *testing.T) {
			got := w.runIn(w.outside, func() {
				if _, err := w.capture.ExistingOf(<-joined, true); err != nil {
					t.Error(err)
				}
				o.seen() // the handshake out of scope, and the reset
			}, append(slices.Clone(age.before), join), age.after)
			if packets := o.seen(); len(packets) != 0 {
				t.Errorf("%+v: packets %q", got, packets)
			}
		})
	}
	t.Run("handed in", func(t *testing.T) {
		for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
			use := step{Do: "connect", Addr: server4}
			if kind == unix.SOCK_DGRAM {
				use.Do = "sendto"
			}
			got := w.runWith(w.cgroup, w.outsider(kind), step{Do: "receive"}, use)
			if packets := o.seen(); len(packets) != 0 {
				t.Errorf("%+v: packets %q", got, packets)
			}
		}
	})
}
