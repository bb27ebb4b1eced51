package capture

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// neighbour is a second namespace that looks like the host of a world, with
// listeners of the same addresses. It gives the flows that were accepted there.
func (w *world) neighbour() (*netnstest.NS, chan uint32) {
	w.t.Helper()
	ns := netnstest.New(w.t)
	ns.Veth(w.internet, prefixes("10.9.0.1/24", "2001:db8:9::1/64"), nil)
	ns.Route(prefixes("0.0.0.0/0")[0], prefixes("10.9.0.2/24")[0].Addr())
	pids := make(chan uint32, 1)
	for _, addr := range w.config.Listen {
		l := w.listenElse(ns, addr)
		netns, err := w.capture.TagListener(l)
		if err != nil {
			w.t.Fatal(err)
		}
		w.serve(l, func(c net.Conn) {
			if f, ok := w.capture.LookupIn(netns, addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())); ok {
				pids <- f.Caller.PID
			}
			fmt.Fprintln(c, "captured next door")
		})
	}
	return ns, pids
}

// hold has a workload connect from an address and stay, until the test ends.
func (w *world) hold(from, to string) (*exec.Cmd, string) {
	w.t.Helper()
	steps := []step{socketFor(to), {Do: "reuse"}, {Do: "bind", Addr: from}, {Do: "connect", Addr: to}, {Do: "read"}, {Do: "pause"}}
	cmd, out, goOn := w.begin(w.cgroup, steps)
	w.t.Cleanup(func() { goOn.Close(); cmd.Wait() })
	var r result
	for range len(steps) - 1 {
		var err error
		if r, err = readResult(out); err != nil || r.Err != "" {
			w.t.Fatalf("%s: %s, %v", r.Do, r.Err, err)
		}
	}
	return cmd, r.Text
}

// TestSameTupleInTwoNamespaces: the same addresses and ports at the same time
// in two namespaces are two connections, each with its own record.
func TestSameTupleInTwoNamespaces(t *testing.T) {
	w := newWorld(t, rewrite, func(c *Config) { c.Listen = c.Listen[:2] }) // one of each family: the same for both
	ns, pids := w.neighbour()
	next := &world{t: t, host: ns, cgroup: w.cgroup}
	for from, to := range map[string]string{"10.9.0.1:40000": server4, "[2001:db8:9::1]:40000": server6} {
		here, said := w.hold(from, to)
		if want := "captured " + to; said != want {
			t.Errorf("in the host: %q, want %q", said, want)
		}
		there, said := next.hold(from, to)
		if said != "captured next door" {
			t.Errorf("next door: %q", said)
		}
		if got := <-pids; got != uint32(there.Process.Pid) {
			t.Errorf("next door the caller is %d, want %d", got, there.Process.Pid)
		}
		if got := w.last().Caller.PID; got != uint32(here.Process.Pid) {
			t.Errorf("in the host the caller is %d, want %d", got, here.Process.Pid)
		}
	}
	if n := w.counter("records_contested"); n != 0 {
		t.Errorf("%d records are contested", n)
	}
}

// TestOneLookAtRoutes: the routes of all namespaces are listed once, and not anew
// for each namespace that comes.
func TestOneLookAtRoutes(t *testing.T) {
	w := newWorld(t, rewrite)
	ns := netnstest.New(t)
	l := w.listenElse(ns, w.config.Listen[0])
	blind, err := ebpf.LoadPinnedMap(filepath.Join(w.config.PinDir, "routes"), &ebpf.LoadPinOptions{WriteOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer blind.Close()
	if _, err := keysOf[outwardenRoute](blind); err == nil {
		t.Fatal("the routes can be listed by who may only write")
	}
	whole := w.capture.maps.Routes
	w.capture.maps.Routes = blind
	_, err = w.capture.TagListener(l)
	w.capture.maps.Routes = whole
	if err != nil {
		t.Error(err)
	}
}

// TestReaches: a namespace's own routes tell where it can go, also while those of
// another are read for the first time, of which there may be very many.
func TestReaches(t *testing.T) {
	w := newWorld(t, rewrite)
	ns, beyond := netnstest.New(t), netnstest.New(t)
	ns.Veth(beyond, prefixes("10.1.0.1/24"), prefixes("10.1.0.2/24"))
	netns, err := w.capture.TagListener(w.listenElse(ns, w.config.Listen[0]))
	if err != nil {
		t.Fatal(err)
	}
	w.capture.tagging.Lock()
	defer w.capture.tagging.Unlock()
	for addr, want := range map[string]bool{"10.1.0.77": true, "203.0.113.10": false, "2001:db8::1": false} {
		if got := w.capture.Reaches(netns, netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is reached: %v, want %v", addr, got, want)
		}
	}
	if w.capture.Reaches(netns+1000, netip.MustParseAddr("10.1.0.77")) {
		t.Error("a namespace that nobody knows reaches somebody")
	}
}

// TestLeaveNetns: nothing of ours keeps a namespace that was left, and nothing is written of it.
func TestLeaveNetns(t *testing.T) {
	w := newWorld(t, rewrite)
	ns := netnstest.New(t)
	_, far := ns.Veth(w.internet, prefixes("10.8.0.1/24"), nil)
	l := w.listenElse(ns, w.config.Listen[0])
	netns, err := w.capture.TagListener(l)
	if err != nil {
		t.Fatal(err)
	}
	routes := func() (n int) {
		keys, err := keysOf[outwardenRoute](w.capture.maps.Routes)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			if uint64(k.Netns[0])<<32|uint64(k.Netns[1]) == netns {
				n++
			}
		}
		return n
	}
	if routes() == 0 {
		t.Error("no routes of the namespace are written")
	}
	l.Close()
	w.capture.LeaveNetns(netns)
	w.capture.LeaveNetns(netns) // once more does no harm
	if n := routes(); n != 0 {
		t.Errorf("%d routes of the namespace are left", n)
	}
	ns.Release()
	eventually(t, "the end of the namespace, and of its wire with it,", func() (gone bool) {
		w.internet.Do(func() { _, err := net.InterfaceByName(far); gone = err != nil })
		return gone
	})
}

// TestAskNetnsCookieWithoutLoopback: a new namespace has no loopback yet.
func TestAskNetnsCookieWithoutLoopback(t *testing.T) {
	w := newWorld(t, rewrite)
	ns := netnstest.New(t)
	l := w.listenElse(ns, w.config.Listen[0])
	want, err := w.capture.TagListener(l)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := ns.Output("", "ip", "link", "set", "lo", "down"); err != nil {
		t.Fatal(out, err)
	}
	rc, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var got uint64
	var failed error
	rc.Control(func(fd uintptr) { got, failed = w.capture.askNetnsCookie(int(fd), l.Addr()) })
	if failed != nil || got != want {
		t.Errorf("namespace %d, %v; want %d", got, failed, want)
	}
}
