package capture

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/flow"
)

// targets are the server as the families name it.
var targets = []struct {
	name, addr, original string
	ipv6                 bool
}{
	{"IPv4", server4, server4, false},
	{"IPv6", server6, server6, true},
	{"mapped", mapped4, server4, true},
}

// ways are the ways in which a workload can come to have a connection. Each
// makes its socket itself, as its first step, and ends connected.
var ways = []struct {
	name  string
	steps func(s step, addr string) []step // s makes the socket
}{
	{"blocking", func(s step, addr string) []step {
		return []step{s, {Do: "connect", Addr: addr}}
	}},
	{"non-blocking", func(s step, addr string) []step {
		return []step{s, {Do: "nonblock"}, {Do: "connect", Addr: addr}, {Do: "wait"}, {Do: "block"}}
	}},
	{"io_uring", func(s step, addr string) []step {
		return []step{s, {Do: "uring", Addr: addr}}
	}},
	{"io_uring on a thread of its own", func(s step, addr string) []step {
		return []step{s, {Do: "uring", Addr: addr, Count: 1}}
	}},
	{"fast open by sendto", func(s step, addr string) []step {
		return []step{s, {Do: "fast", Addr: addr}}
	}},
	{"fast open by connect", func(s step, addr string) []step {
		return []step{s, {Do: "faster"}, {Do: "connect", Addr: addr}, {Do: "write", Addr: "x"}}
	}},
	{"fast open without a cookie", func(s step, addr string) []step {
		return append(late(s, addr), step{Do: "write", Addr: "x"})
	}},
	{"MPTCP anew", func(s step, addr string) []step {
		s.Kind = "mptcp"
		first := strings.Replace(addr, ":443", ":80", 1)
		return []step{s, {Do: "connect", Addr: first}, {Do: "disconnect"}, {Do: "connect", Addr: addr}}
	}},
	{"MPTCP fast open", func(s step, addr string) []step {
		s.Kind = "mptcp"
		return []step{s, {Do: "fast", Addr: addr}}
	}},
	{"MPTCP", func(s step, addr string) []step {
		s.Kind = "mptcp"
		return []step{s, {Do: "connect", Addr: addr}}
	}},
	{"bound", func(s step, addr string) []step {
		return []step{s, {Do: "reuse"}, {Do: "bind", Addr: ours(s, addr)}, {Do: "connect", Addr: addr}}
	}},
	{"bound to a device", func(s step, addr string) []step {
		return []step{s, {Do: "device"}, {Do: "connect", Addr: addr}}
	}},
	{"anew", func(s step, addr string) []step {
		first := strings.Replace(addr, ":443", ":80", 1)
		return []step{s, {Do: "connect", Addr: first}, {Do: "disconnect"}, {Do: "connect", Addr: addr}}
	}},
	{"with a mark of its own", func(s step, addr string) []step {
		return []step{s, {Do: "mark", Count: 0x1234}, {Do: "connect", Addr: addr}}
	}},
}

// ours is the host's address that reaches addr, as a socket of s can be bound to it.
func ours(s step, addr string) string {
	switch {
	case !s.IPv6:
		return "10.9.0.1:0"
	case addr == mapped4:
		return "[::ffff:10.9.0.1]:0"
	}
	return "[2001:db8:9::1]:0"
}

// TestWays: however a workload connects, it is captured, known, and told the truth.
func TestWays(t *testing.T) { eachBackend(t, testWays) }

func testWays(t *testing.T, b backend) {
	w := newWorld(t, b)
	for _, way := range ways {
		for _, target := range targets {
			t.Run(way.name+" "+target.name, func(t *testing.T) {
				steps := way.steps(step{Do: "socket", IPv6: target.ipv6}, target.addr)
				if w.lacks(steps[0].Kind) || w.lacksFastOpen(steps) {
					return
				}
				w.check(t, steps, target.addr, target.original)
			})
		}
	}
}

// check runs a way and compares what the workload and our listener learn of it.
func (w *world) check(t *testing.T, steps []step, addr, original string) {
	t.Helper()
	for i := range steps {
		if steps[i].Do == "device" {
			steps[i].Addr = w.device()
		}
	}
	all := slices.Concat([]step{{Do: "self"}}, steps, []step{{Do: "read"}, {Do: "names"}})
	got := w.run(w.cgroup, all...)
	names := ends(t, got, "captured "+original)
	if names.peer.String() != addr || !strings.Contains("10.9.0.1 2001:db8:9::1", names.local.Addr().Unmap().String()) {
		t.Errorf("the workload is told peer %v, local %v; it meant %s", names.peer, names.local, addr)
	}
	f := w.from(names.local.Port())
	if f.Original.String() != original || f.Source.Port() != names.local.Port() || who(f) != got[0].Text {
		t.Errorf("flow %+v, want %s from port %d by %s", f, original, names.local.Port(), got[0].Text)
	}
}

// from is the flow that was accepted last from a port.
func (w *world) from(port uint16) (last flow.Flow) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.flows {
		if f.Source.Port() == port {
			last = f
		}
	}
	return last
}

// TestOwnMarkStays: the mark that a workload sets is its own affair; backend nft
// adds its one bit.
func TestOwnMarkStays(t *testing.T) { eachBackend(t, testOwnMarkStays) }

func testOwnMarkStays(t *testing.T, b backend) {
	w := newWorld(t, b)
	const ours = 0x1200
	got := w.run(w.cgroup, step{Do: "socket"}, step{Do: "mark", Count: ours}, step{Do: "connect", Addr: server4}, step{Do: "read"}, step{Do: "mark?"})
	mark, err := strconv.Atoi(got[4].Text)
	if b == rewrite && mark != ours || mark&ours != ours || err != nil || !strings.HasPrefix(got[3].Text, "captured") {
		t.Errorf("workload: %+v, want mark %d", got, ours)
	}
}

// TestSocketFromElsewhere: a socket that was made outside and handed in is
// captured when it is connected inside, whoever made it.
func TestSocketFromElsewhere(t *testing.T) { eachBackend(t, testSocketFromElsewhere) }

func testSocketFromElsewhere(t *testing.T, b backend) {
	w := newWorld(t, b)
	got := w.runWith(w.cgroup, w.outsider(unix.SOCK_STREAM), step{Do: "self"}, step{Do: "receive"}, step{Do: "connect", Addr: server4}, step{Do: "read"}, step{Do: "names"})
	if got[3].Text != "captured "+server4 || got[4].Peer != server4 || who(w.last()) != got[0].Text {
		t.Errorf("workload: %+v, flow %+v", got, w.last())
	}
	got = w.runWith(w.cgroup, w.outsider(unix.SOCK_DGRAM), step{Do: "receive"}, step{Do: "sendto", Addr: server4})
	if got[1].Err != refused {
		t.Errorf("QUIC by such a socket: %+v", got)
	}
}

// outsider makes a socket in the host's namespace, and gives the standard input
// of a workload, out of which it can be received.
func (w *world) outsider(kind int) *os.File {
	w.t.Helper()
	var fd int
	var err error
	w.host.Do(func() { fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0) })
	if err != nil {
		w.t.Fatal(err)
	}
	defer unix.Close(fd)
	return w.pass(fd)
}

// pass gives the standard input of a workload, out of which fd can be received.
func (w *world) pass(fd int) *os.File {
	w.t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer unix.Close(pair[0])
	if err := unix.Sendmsg(pair[0], []byte("."), unix.UnixRights(fd), nil, 0); err != nil {
		w.t.Fatal(err)
	}
	in := os.NewFile(uintptr(pair[1]), "stdin")
	w.t.Cleanup(func() { in.Close() })
	return in
}

// runWith is run with a standard input.
func (w *world) runWith(cgroup string, in *os.File, steps ...step) (results []result) {
	w.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd, out, err := w.start(cgroup, exe, in, steps)
	if err != nil {
		w.t.Fatal(err)
	}
	for range steps {
		r, err := readResult(out)
		if err != nil {
			w.t.Fatal(results, err)
		}
		results = append(results, r)
	}
	if err := cmd.Wait(); err != nil {
		w.t.Fatal(err)
	}
	return results
}

// TestSuccessors: it is the process that connected that is known, though another
// program or a child has the connection when it is accepted.
func TestSuccessors(t *testing.T) { eachBackend(t, testSuccessors) }

func testSuccessors(t *testing.T, b backend) {
	for _, by := range []string{"exec", "fork"} {
		t.Run(by, func(t *testing.T) {
			w := newWorld(t, b)
			goOn := w.detain()
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd, out, err := w.start(w.cgroup, self, nil, []step{{Do: "self"}, {Do: "socket"}, {Do: "connect", Addr: server4},
				{Do: by, Addr: copies(t, 1)[0]}, {Do: "self"}, {Do: "read"}})
			if err != nil {
				t.Fatal(err)
			}
			var got []result
			for i := range 5 { // exec and fork say nothing
				if i == 4 {
					close(goOn)
				}
				r, err := readResult(out)
				if err != nil {
					t.Fatal(got, err)
				}
				got = append(got, r)
			}
			w.finish(cmd)
			if got[3].Text == got[0].Text || got[4].Text != "captured "+server4 {
				t.Errorf("workload: %+v, want another program that is captured", got)
			}
			if known := who(w.last()); known != got[0].Text {
				t.Errorf("known as %s, want %s", known, got[0].Text)
			}
		})
	}
}

func (w *world) finish(cmd *exec.Cmd) {
	w.t.Helper()
	if err := cmd.Wait(); err != nil {
		w.t.Error(err)
	}
}

// TestPortRange: more connections than the host has source ports, at once.
func TestPortRange(t *testing.T) { eachBackend(t, testPortRange) }

func testPortRange(t *testing.T, b backend) {
	w := newWorld(t, b)
	const ports, connections = 200, 260 // the listeners are chosen by chance
	w.host.Do(func() {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte(fmt.Sprint(30000, " ", 30000+ports-1)), 0o644); err != nil {
			t.Fatal(err)
		}
	})
	var steps []step
	for i := range connections {
		addr := fmt.Sprintf("203.0.113.%d:443", 10+i%4) // one of them alone would be too few for the host itself
		steps = append(steps, step{Do: "socket"}, step{Do: "connect", Addr: addr})
	}
	for i, r := range w.run(w.cgroup, append(steps, step{Do: "read"})...) {
		if r.Err != "" {
			t.Fatalf("step %d: %+v", i, r)
		}
	}
	w.drain()
	if known, strange := w.accepted(); known != connections || strange != len(w.listeners) {
		t.Errorf("%d of %d known, %d strangers", known, connections, strange-len(w.listeners))
	}
}

// TestSameSourcePort: one source port has a connection at each listener, each to
// a destination of its own; one more is told that the address is in use.
func TestSameSourcePort(t *testing.T) {
	w := newWorld(t, rewrite)
	const listeners = 2 // for each family
	var steps []step
	for i := range listeners + 1 {
		steps = append(steps, step{Do: "socket"}, step{Do: "reuse"}, step{Do: "bind", Addr: "0.0.0.0:40000"},
			step{Do: "connect", Addr: fmt.Sprintf("203.0.113.%d:443", 10+i)}, step{Do: "read"}, step{Do: "names"})
	}
	got := w.run(w.cgroup, steps...)
	for i := range listeners {
		want := fmt.Sprintf("203.0.113.%d:443", 10+i)
		if r := got[6*i+3 : 6*i+6]; r[0].Err != "" || r[1].Text != "captured "+want || r[2].Peer != want || r[2].Local != "10.9.0.1:40000" {
			t.Errorf("connection %d: %+v, want %s", i, r, want)
		}
	}
	if r := got[6*listeners+3]; r.Err != unix.EADDRNOTAVAIL.Error() && r.Err != unix.EADDRINUSE.Error() {
		t.Errorf("one too many: %+v", r)
	}
}
