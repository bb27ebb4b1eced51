package capture

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestSharedSourcePort: sockets of several processes share one source port, and
// conntrack gives their connections others; each is still told from the rest.
func TestSharedSourcePort(t *testing.T) {
	w := newWorld(t, nft)
	const workloads = 6
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pids := map[string]uint32{} // by destination
	type workload struct {
		cmd  *exec.Cmd
		out  *bufio.Reader
		goOn io.Closer
		to   string
	}
	var all []workload
	for i := range workloads {
		in, goOn := io.Pipe()
		to := fmt.Sprintf("203.0.113.%d:443", 10+i)
		cmd, out, err := w.start(w.cgroup, exe, in, []step{
			{Do: "socket"}, {Do: "reuse"}, {Do: "bind", Addr: "10.9.0.1:40406"}, {Do: "connect", Addr: to}, {Do: "pause"}, {Do: "read"},
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			if r, err := readResult(out); err != nil || r.Err != "" {
				t.Fatalf("%s: %+v, %v", to, r, err)
			}
		}
		pids[to] = uint32(cmd.Process.Pid)
		all = append(all, workload{cmd, out, goOn, to})
	}
	for _, l := range all {
		l.goOn.Close()
		readResult(l.out)
		if r, err := readResult(l.out); err != nil || r.Text != "captured "+l.to {
			t.Errorf("%s: %+v, %v", l.to, r, err)
		}
		if err := l.cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	ports := map[uint16]bool{}
	for _, f := range w.flows {
		ports[f.Source.Port()] = true
		if f.Caller.PID != pids[f.Original.String()] {
			t.Errorf("%v is said to be of process %d, is of %d", f.Original, f.Caller.PID, pids[f.Original.String()])
		}
	}
	if len(w.flows) != workloads || len(ports) < 2 {
		t.Errorf("%d flows from ports %v, want %d and some that conntrack has changed", len(w.flows), ports, workloads)
	}
}

// TestTupleOfAnother: conntrack forgets a connection that nobody has answered, and gives
// another the tuple that it had. Each is told from the other.
func TestTupleOfAnother(t *testing.T) {
	w := newWorld(t, nft)
	answered := w.deafen()
	first, out, goOn := w.begin(w.cgroup, []step{{Do: "socket"}, {Do: "reuse"}, {Do: "bind", Addr: "10.9.0.1:40409"},
		{Do: "nonblock"}, {Do: "connect", Addr: server4}, {Do: "pause"}, {Do: "wait"}, {Do: "block"}, {Do: "read"}})
	eventually(t, "its SYN is on the way", func() bool { return w.records() == 1 })
	w.host.Do(func() {
		if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
			t.Error(err)
		}
	})
	answered()
	const to = "203.0.113.11:443"
	got := w.run(w.cgroup, step{Do: "socket"}, step{Do: "reuse"}, step{Do: "bind", Addr: "10.9.0.1:40409"}, step{Do: "connect", Addr: to}, step{Do: "read"})
	if got[4].Text != "captured "+to {
		t.Errorf("the second: %+v", got)
	}
	goOn.Close()
	for i := range 9 {
		r, err := readResult(out)
		if err != nil || i == 8 && r.Text != "captured "+server4 {
			t.Fatalf("step %d of the first: %+v, %v", i, r, err)
		}
	}
	w.finish(first)
	if n := w.counter("records_contested"); n != 0 {
		t.Errorf("records_contested = %d", n)
	}
	if n := w.records(); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

// deafen has the host drop all that it receives, until the function that it returns is called.
func (w *world) deafen() (hear func()) {
	w.t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(w.host.Fd()))
	if err != nil {
		w.t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Name: "deaf", Family: nftables.TableFamilyINet})
	drop := nftables.ChainPolicyDrop
	c.AddChain(&nftables.Chain{Name: "input", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Policy: &drop})
	flush := func() {
		if err := c.Flush(); err != nil {
			w.t.Fatal(err)
		}
	}
	flush()
	return func() {
		c.DelTable(table)
		flush()
	}
}

// TestFence: without the table nothing of a redirected connection leaves; put
// back, the connection is redirected.
func TestFence(t *testing.T) {
	w := newWorld(t, nft)
	got := w.withoutTable(nil, []step{{Do: "wait"}, {Do: "block"}, {Do: "read"}})
	if read := got[len(got)-1]; read.Text != "captured "+server4 {
		t.Errorf("after the table was put back: %+v", got)
	}
}

// TestFenceWithoutMark: nor where its owner takes the mark away.
func TestFenceWithoutMark(t *testing.T) {
	w := newWorld(t, nft)
	got := w.withoutTable([]step{{Do: "mark"}}, []step{{Do: "names"}})
	if names := got[len(got)-1]; names.Err != unix.ENOTCONN.Error() {
		t.Errorf("without the mark: %+v", got)
	}
}

// withoutTable connects while the table is gone, and puts it back once the SYN was
// sent a second time.
func (w *world) withoutTable(before, after []step) []result {
	w.t.Helper()
	w.flushRuleset()
	o := newOracle(w)
	got := w.runAround(func() {
		eventually(w.t, "a second SYN", func() bool { return w.counter("strayed") > 1 })
		w.redirect()
	}, append([]step{{Do: "socket"}, {Do: "nonblock"}, {Do: "connect", Addr: server4}}, before...), after)
	if packets := o.seen(); len(packets) != 0 {
		w.t.Errorf("left the host: %q", packets)
	}
	return got
}

// flushRuleset does what `nft flush ruleset` does.
func (w *world) flushRuleset() {
	w.t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(w.host.Fd()))
	if err != nil {
		w.t.Fatal(err)
	}
	c.FlushRuleset()
	if err := c.Flush(); err != nil {
		w.t.Fatal(err)
	}
}
