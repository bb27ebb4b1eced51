package capture

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/netnstest"
)

// TestNamesAreTrue compares what getpeername and getsockname say with capture
// to what they say without.
func TestNamesAreTrue(t *testing.T) { eachBackend(t, testNamesAreTrue) }

func testNamesAreTrue(t *testing.T, b backend) {
	w := newWorld(t, b)
	tests := []struct {
		name  string
		steps []step
	}{
		{"IPv4", []step{{Do: "socket"}, {Do: "connect", Addr: server4}}},
		{"IPv6", []step{{Do: "socket", IPv6: true}, {Do: "connect", Addr: server6}}},
		{"mapped", []step{{Do: "socket", IPv6: true}, {Do: "connect", Addr: mapped4}}},
		{"bound", []step{{Do: "socket"}, {Do: "bind", Addr: "10.9.0.1:0"}, {Do: "connect", Addr: server4}}},
		{"bound IPv6", []step{{Do: "socket", IPv6: true}, {Do: "bind", Addr: "[2001:db8:9::1]:0"}, {Do: "connect", Addr: server6}}},
		{"bound port", []step{{Do: "socket"}, {Do: "reuse"}, {Do: "bind", Addr: "0.0.0.0:40404"}, {Do: "connect", Addr: server4}}},
		{"non-blocking", []step{{Do: "socket"}, {Do: "nonblock"}, {Do: "connect", Addr: server4}, {Do: "wait"}, {Do: "block"}}},
		{"MPTCP", []step{{Do: "socket", Kind: "mptcp"}, {Do: "connect", Addr: server4}}},
		{"MPTCP IPv6", []step{{Do: "socket", Kind: "mptcp", IPv6: true}, {Do: "connect", Addr: server6}}},
		{"MPTCP mapped", []step{{Do: "socket", Kind: "mptcp", IPv6: true}, {Do: "connect", Addr: mapped4}}},
		{"device", []step{{Do: "socket"}, {Do: "device", Addr: w.device()}, {Do: "connect", Addr: server4}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if w.lacks(test.steps[0].Kind) {
				return
			}
			steps := append(test.steps, step{Do: "read"}, step{Do: "names"})
			want := ends(t, w.run(w.outside, steps...), "direct")
			got := ends(t, w.run(w.cgroup, steps...), "captured")
			if got.peer != want.peer || got.local.Addr() != want.local.Addr() {
				t.Errorf("captured: peer %v local %v; uncaptured: peer %v local %v", got.peer, got.local, want.peer, want.local)
			}
			f := w.last()
			if f.Source.Port() != got.local.Port() {
				t.Errorf("port shown is %d, real is %d", got.local.Port(), f.Source.Port())
			}
			if kept := test.steps[0].Kind == "mptcp" && b == rewrite; kept != w.hasPeer(f) {
				t.Errorf("the record for the names of MPTCP sockets: %v", w.hasPeer(f))
			}
			if want := netip.AddrPortFrom(want.peer.Addr().Unmap(), want.peer.Port()); f.Original != want {
				t.Errorf("original destination %v, want %v", f.Original, want)
			}
		})
	}
}

// lacks reports whether this kernel has no such sockets at all: some lack MPTCP,
// and newer ones UDP-Lite. Then workloads cannot make them either.
func (w *world) lacks(kind string) bool {
	w.t.Helper()
	if kind != "mptcp" && kind != "udplite" {
		return false
	}
	k := socketKinds[kind]
	fd, err := unix.Socket(unix.AF_INET, k.kind|unix.SOCK_CLOEXEC, k.protocol)
	if err == nil {
		unix.Close(fd)
		return false
	}
	if got := w.run(w.cgroup, step{Do: "socket", Kind: kind}); got[0].Err != unix.EPROTONOSUPPORT.Error() {
		w.t.Errorf("a workload's %s socket: %+v, while ours is refused: %v", kind, got[0], err)
	}
	netnstest.Refused(w.t, kind+" sockets", err)
	return true
}

// lacksFastOpen reports whether the kernel has no fast open for the MPTCP socket that
// steps are about, as those before 6.2, and sees that who is in scope is told so.
func (w *world) lacksFastOpen(steps []step) bool {
	w.t.Helper()
	last := len(steps) - 1
	if steps[0].Kind != "mptcp" || steps[last].Do != "fast" {
		return false
	}
	k := socketKinds["mptcp"]
	fd, err := unix.Socket(unix.AF_INET, k.kind|unix.SOCK_CLOEXEC, k.protocol)
	if err != nil {
		w.t.Fatal(err)
	}
	defer unix.Close(fd)
	nobody := &unix.SockaddrInet4{Port: 1, Addr: [4]byte{127, 0, 0, 1}}
	if err = unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, nobody); err != unix.EOPNOTSUPP {
		return false
	}
	if got := w.run(w.cgroup, steps...); got[last].Err != unix.EOPNOTSUPP.Error() {
		w.t.Errorf("a workload's fast open: %+v, while ours is refused: %v", got[last], err)
	}
	netnstest.Refused(w.t, "fast open of mptcp sockets", err)
	return true
}

// hasPeer reports whether a flow's truth is kept by tuple.
func (w *world) hasPeer(f flow.Flow) bool {
	for _, l := range w.config.Listen {
		key := toTuple(f.Netns, l, f.Source)
		var truth outwardenTruth
		if w.capture.maps.Peers.Lookup(&key, &truth) == nil {
			return true
		}
	}
	return false
}

// device is the host's end of the veth pair.
func (w *world) device() (name string) {
	w.t.Helper()
	w.host.Do(func() {
		links, err := net.Interfaces()
		if err != nil {
			w.t.Fatal(err)
		}
		name = links[slices.IndexFunc(links, func(i net.Interface) bool { return i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagUp != 0 })].Name
	})
	return name
}

type pair struct{ peer, local netip.AddrPort }

// ends gives the names that a workload was told, after making sure that it got
// where the test meant it to get.
func ends(t *testing.T, results []result, where string) pair {
	t.Helper()
	for _, r := range results {
		if r.Err != "" && !(r.Do == "connect" && r.Err == "operation now in progress") {
			t.Fatalf("%s: %s", r.Do, r.Err)
		}
	}
	names, read := results[len(results)-1], results[len(results)-2]
	if !strings.HasPrefix(read.Text, where) {
		t.Fatalf("read %q, want %s", read.Text, where)
	}
	return pair{netip.MustParseAddrPort(names.Peer), netip.MustParseAddrPort(names.Local)}
}

func TestIdentity(t *testing.T) { eachBackend(t, testIdentity) }

func testIdentity(t *testing.T, b backend) {
	w := newWorld(t, b)
	before := time.Now()
	results := w.run(w.cgroup, step{Do: "self"}, step{Do: "socket"}, step{Do: "connect", Addr: server4}, step{Do: "read"})
	var pid uint32
	var dev, inode uint64
	if _, err := fmt.Sscan(results[0].Text, &pid, &dev, &inode); err != nil {
		t.Fatal(err)
	}
	f := w.last()
	cgroup, err := cgroupID(w.cgroup)
	if err != nil {
		t.Fatal(err)
	}
	if f.Caller.PID != pid || f.Caller.Exe.Dev != dev || f.Caller.Exe.Inode != inode {
		t.Errorf("caller %+v, want pid %d exe %d:%d", f.Caller, pid, dev, inode)
	}
	if f.Cgroup != cgroup || f.Netns != w.capture.Netns() || f.Cookie == 0 {
		t.Errorf("flow %+v, want cgroup %d, netns %d and a cookie", f, cgroup, w.capture.Netns())
	}
	comm := filepath.Base(os.Args[0])
	if comm = comm[:min(len(comm), 15)]; f.Caller.UID != 0 || f.Caller.GID != 0 || f.Caller.Comm != comm {
		t.Errorf("caller %+v, want root's %s", f.Caller, comm)
	}
	if f.At.Before(before.Add(-time.Second)) || f.At.After(time.Now().Add(time.Second)) {
		t.Errorf("connect at %v, want about %v", f.At, before)
	}
	if f.Caller.Start <= 0 || f.Caller.Start > sinceBoot() {
		t.Errorf("process started %v after boot; now is %v", f.Caller.Start, sinceBoot())
	}
}

// TestReconnect: a socket that connects anew is captured anew, with its new destination, and tells the new truth.
func TestReconnect(t *testing.T) { eachBackend(t, testReconnect) }

func testReconnect(t *testing.T, b backend) {
	w := newWorld(t, b)
	results := w.run(w.cgroup, step{Do: "socket"},
		step{Do: "connect", Addr: server4}, step{Do: "read"}, step{Do: "disconnect"},
		step{Do: "connect", Addr: "203.0.113.10:80"}, step{Do: "read"}, step{Do: "names"}, step{Do: "disconnect"},
		step{Do: "connect", Addr: other4}, step{Do: "read"}, step{Do: "names"})
	for i, want := range map[int]string{2: "captured 203.0.113.10:443", 5: "captured 203.0.113.10:80", 9: "direct 10.9.0.1:"} {
		if got := results[i]; !strings.HasPrefix(got.Text, want) {
			t.Errorf("step %d: %+v, want %q", i, got, want)
		}
	}
	if got := results[6].Peer; got != "203.0.113.10:80" {
		t.Errorf("second peer %s", got)
	}
	if got := results[10]; got.Peer != other4 || !strings.HasPrefix(got.Local, "10.9.0.1:") {
		t.Errorf("after an uncaptured connect: %+v", got)
	}
}

func TestLoopbackPasses(t *testing.T) { eachBackend(t, testLoopbackPasses) }

func testLoopbackPasses(t *testing.T, b backend) {
	w := newWorld(t, b)
	for _, addr := range []string{"127.0.0.1:443", "127.9.9.9:80", "[::1]:443", "[::ffff:127.0.0.1]:443", "0.0.0.0:80", "[::]:443"} {
		if got := w.answer(w.cgroup, addr); got != "connection refused" {
			t.Errorf("%s: %q, want it refused by nobody listening", addr, got)
		}
	}
	if n := w.counter("redirected"); n != 0 {
		t.Errorf("%d connects were redirected", n)
	}
}

// TestDirectDial: nobody dials our listeners, by whichever address, or he could
// come to the tuple of a connection that was reset before it was accepted.
func TestDirectDial(t *testing.T) { eachBackend(t, testDirectDial) }

func testDirectDial(t *testing.T, b backend) {
	w := newWorld(t, b)
	dials := uint64(0)
	for _, l := range w.listeners {
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ways := []string{"[::1]:" + port, "[::]:" + port}
		if l.Addr().(*net.TCPAddr).AddrPort().Addr().Is4() {
			ways = []string{"127.0.0.1:" + port, "0.0.0.0:" + port, "[::ffff:127.0.0.1]:" + port, "[::ffff:0.0.0.0]:" + port}
		}
		for _, addr := range ways {
			for who, cgroup := range map[string]string{"captured": w.cgroup, "other": w.outside} {
				dials++
				if got := w.answer(cgroup, addr); got != "operation not permitted" {
					t.Errorf("%s workload dials %s: %q", who, addr, got)
				}
			}
		}
	}
	if known, strange := w.accepted(); strange != 0 || known != 0 {
		t.Errorf("%d without a record, %d with one; want none to arrive", strange, known)
	}
	if n := w.counter("connects_to_us"); n != dials {
		t.Errorf("connects_to_us = %d, want %d", n, dials)
	}
}

// TestDialWhereWeAreNot: our port of another address, and of a namespace that we
// are not in, is nobody's business.
func TestDialWhereWeAreNot(t *testing.T) {
	w := newWorld(t, rewrite)
	_, port, _ := net.SplitHostPort(w.listeners[0].Addr().String())
	w.leave()
	for _, addr := range []string{"127.0.0.1:" + port, "127.0.0.2:" + port} {
		if got := w.answer(w.outside, addr); got != "connection refused" {
			t.Errorf("%s: %q, want it refused by nobody listening", addr, got)
		}
	}
}
