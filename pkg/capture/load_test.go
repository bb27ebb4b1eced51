package capture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/netnstest"
)

// TestManyConnections: 10,000 connections from 100 processes of 5 executables,
// all at once; each is told by its own process who it is, and the kernel's
// record must say the same.
func TestManyConnections(t *testing.T) { eachBackend(t, testManyConnections) }

func testManyConnections(t *testing.T, b backend) {
	processes, each, executables := 100, 100, 5
	switch {
	case testing.Short():
		processes, each = 10, 20
	case netnstest.Slower() > 1:
		processes, each = 20, 50
	}
	w := newWorld(t, b)
	gate := newGate(processes * each)
	w.replace(func(c net.Conn) { gate.check(w, c) })
	exes := copies(t, executables)
	addrs := []string{server4, server6, mapped4}
	var work sync.WaitGroup
	failed := make(chan error, processes)
	for i := range processes {
		work.Go(func() {
			results, err := w.try(w.cgroup, exes[i%executables], step{Do: "many", Addr: addrs[i%len(addrs)], Count: each})
			if err == nil && results[0].Err != "" {
				err = errors.New(results[0].Err)
			}
			failed <- err
		})
	}
	work.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			t.Errorf("workload: %v", err)
		}
	}
	gate.mu.Lock()
	defer gate.mu.Unlock()
	if len(gate.pids) != processes || gate.right != processes*each || len(gate.wrong) != 0 {
		t.Errorf("%d connections of %d processes told right; wrong: %q", gate.right, len(gate.pids), gate.wrong)
	}
	if n := w.counter("redirected"); n < uint64(processes*each) {
		t.Errorf("redirected = %d, want at least %d", n, processes*each)
	}
	if n := w.records(); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

// replace opens other listeners, on which connections are answered in another way.
func (w *world) replace(answer func(net.Conn)) {
	w.t.Helper()
	for _, l := range w.listeners {
		l.Close()
	}
	w.capture.Close()
	w.listeners, w.config.Listen = nil, nil
	for _, addr := range []string{"127.0.0.1:0", "127.0.0.1:0", "[::1]:0", "[::1]:0"} {
		l := listenIn(w.t, w.host, addr)
		w.listeners = append(w.listeners, l)
		w.config.Listen = append(w.config.Listen, addrPort(l.Addr()))
		w.serve(l, answer)
	}
	w.open()
}

// copies makes copies of the test binary, each a file of its own.
func copies(t *testing.T, n int) (paths []string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		path := filepath.Join(t.TempDir(), fmt.Sprintf("workload%d", i))
		in, err := os.Open(self)
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(out, in); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(in.Close(), out.Close()); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// gate keeps all connections open until the last has come, and compares what
// each says of itself with what the kernel says.
type gate struct {
	mu    sync.Mutex
	pids  map[uint32]bool
	right int
	wrong []string
	all   sync.WaitGroup
}

func newGate(n int) *gate {
	g := &gate{pids: map[uint32]bool{}}
	g.all.Add(n)
	return g
}

func (g *gate) check(w *world, c net.Conn) {
	w.mu.Lock()
	capture := w.capture
	w.mu.Unlock()
	f, ok := capture.Lookup(addrPort(c.LocalAddr()), addrPort(c.RemoteAddr()))
	line, err := bufio.NewReader(c).ReadString('\n')
	g.note(f, ok, line, err)
	g.all.Done()
	g.all.Wait()
	fmt.Fprintln(c, "captured")
}

func (g *gate) note(f flow.Flow, ok bool, line string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	kernel := fmt.Sprintf("%d %d %d\n", f.Caller.PID, f.Caller.Exe.Dev, f.Caller.Exe.Inode)
	if !ok || err != nil || kernel != line {
		g.wrong = append(g.wrong, fmt.Sprintf("kernel %q (%v), workload %q (%v)", kernel, ok, line, err))
		return
	}
	g.right++
	g.pids[f.Caller.PID] = true
}

// TestChurn: whatever becomes of a socket, its record goes.
func TestChurn(t *testing.T) { eachBackend(t, testChurn) }

func testChurn(t *testing.T, b backend) {
	w := newWorld(t, b)
	ways := [][]step{
		{{Do: "connect", Addr: server4}, {Do: "close"}},
		{{Do: "connect", Addr: server4}, {Do: "disconnect"}, {Do: "close"}},
		{{Do: "nonblock"}, {Do: "connect", Addr: server4}, {Do: "close"}},
		{{Do: "nonblock"}, {Do: "connect", Addr: server4}, {Do: "disconnect"}, {Do: "connect", Addr: server4}},
		{{Do: "connect", Addr: server4}, {Do: "linger"}, {Do: "close"}},
		{{Do: "bind", Addr: "192.0.2.77:0"}, {Do: "connect", Addr: server4}}, // fails: not our address
	}
	var steps []step
	for range 20 {
		for _, way := range ways {
			steps = append(append(steps, step{Do: "socket"}), way...)
		}
	}
	w.run(w.cgroup, append(steps, step{Do: "socket"}, step{Do: "connect", Addr: server4}, step{Do: "read"})...)
	w.drain()
	eventually(t, "the end of the last record", func() bool { return w.records() == 0 }) // each is looked up on a goroutine of its own
	known, strange := w.accepted()
	contested := w.counter("records_contested")
	strange -= len(w.listeners) // those of drain
	if known < 100 || uint64(strange) > 2*contested {
		t.Errorf("%d accepted with a record, %d without, %d contested", known, strange, contested)
	}
}

// TestClosedBeforeAccept: a workload that says its piece and leaves is still known.
func TestClosedBeforeAccept(t *testing.T) {
	w := newWorld(t, rewrite, func(c *Config) { c.Listen = c.Listen[:1] })
	// Nobody accepts on this listener until the workload has gone.
	w.capture.Close()
	l := listenIn(t, w.host, "127.0.0.1:0")
	w.config.Listen = addrPorts(l.Addr().String())
	w.listeners = w.listeners[:0]
	w.listeners = append(w.listeners, l)
	w.open()
	got := w.run(w.cgroup, step{Do: "self"}, step{Do: "socket"}, step{Do: "connect", Addr: server4}, step{Do: "write", Addr: "farewell"}, step{Do: "close"})
	if got[3].Err != "" {
		t.Fatalf("workload: %+v", got)
	}
	if n := w.records(); n != 1 {
		t.Fatalf("%d records wait, want 1", n)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f, ok := w.capture.Lookup(addrPort(c.LocalAddr()), addrPort(c.RemoteAddr()))
	text, err := io.ReadAll(c)
	if !ok || fmt.Sprintf("%d %d %d", f.Caller.PID, f.Caller.Exe.Dev, f.Caller.Exe.Inode) != got[0].Text {
		t.Errorf("flow %+v (%v), want that of %s", f, ok, got[0].Text)
	}
	if string(text) != "farewell" || err != nil {
		t.Errorf("read %q, %v", text, err)
	}
	if _, ok := w.capture.Lookup(addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())); ok {
		t.Error("a second Lookup found the record again")
	}
}
