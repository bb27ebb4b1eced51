package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cilium/ebpf/btf"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/netfilter"
	"github.com/outwarden/outwarden/pkg/netnstest"
)

// world is a host (a network namespace with workloads and the interceptor's
// listeners) joined to an internet (another one, with a server).
//
//	host: 10.9.0.1, 2001:db8:9::1  <--veth-->  internet: 10.9.0.2, 2001:db8:9::2,
//	                                           203.0.113.10, 2001:db8:f::10
type world struct {
	t         testing.TB
	backend   backend
	host      *netnstest.NS
	internet  *netnstest.NS
	cgroup    string // captured
	outside   string // not captured
	config    Config
	capture   *Capture
	listeners []*net.TCPListener
	table     *netfilter.Table // of backend nft

	mu      sync.Mutex
	held    chan struct{} // until it is closed nobody looks a record up; nil: at once
	flows   []flow.Flow   // of accepted connections, in order
	strange int           // accepted connections without a record
}

const (
	server4 = "203.0.113.10:443"
	server6 = "[2001:db8:f::10]:443"
	mapped4 = "[::ffff:203.0.113.10]:443"
	other4  = "203.0.113.10:5432" // a port that is not captured
)

// backend is a way to bring a connection to our listener. The suite is one: what
// holds for workloads holds for each of them.
type backend string

const (
	rewrite backend = "rewrite"
	nft     backend = "nft"
)

// kernelTypes are read once for all tests.
var kernelTypes = btf.NewCache()

// eachBackend runs a test on every backend.
func eachBackend(t *testing.T, test func(*testing.T, backend)) {
	for _, b := range []backend{rewrite, nft} {
		t.Run(string(b), func(t *testing.T) { test(t, b) })
	}
}

func newWorld(t testing.TB, b backend, change ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t, backend: b, host: netnstest.New(t), internet: netnstest.New(t), cgroup: netnstest.Cgroup(t), outside: netnstest.Cgroup(t)}
	w.wire()
	w.listen()
	w.config = Config{PinDir: pinDir(t), Ports: []uint16{80, 443}, types: kernelTypes}
	if b == nft {
		w.config.Redirect = netfilter.DefaultMark
	}
	for _, l := range w.listeners {
		w.config.Listen = append(w.config.Listen, l.Addr().(*net.TCPAddr).AddrPort())
	}
	for _, c := range change {
		c(&w.config)
	}
	w.open()
	if err := w.capture.AddScope(w.cgroup); err != nil {
		t.Fatal(err)
	}
	return w
}

// pinDir names a directory for the pinned state of one test, removed with it.
func pinDir(t testing.TB) string {
	t.Helper()
	dir := fmt.Sprintf("%s/outwarden-test-%d-%s", bpffs, os.Getpid(), strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-")))
	t.Cleanup(func() {
		if _, err := Detach(dir); err != nil {
			t.Errorf("detach: %v", err)
		}
	})
	return dir
}

func (w *world) wire() {
	w.host.Veth(w.internet, prefixes("10.9.0.1/24", "2001:db8:9::1/64"), prefixes("10.9.0.2/24", "2001:db8:9::2/64"))
	w.internet.Address("lo", prefixes("203.0.113.10/32", "2001:db8:f::10/128")...)
	w.host.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.9.0.2"))
	w.host.Route(netip.MustParsePrefix("::/0"), netip.MustParseAddr("2001:db8:9::2"))
	for _, addr := range []string{server4, server6, other4} {
		w.serve(listenIn(w.t, w.internet, addr), func(c net.Conn) { fmt.Fprintln(c, "direct", c.RemoteAddr()) })
	}
}

func addrPorts(list ...string) (out []netip.AddrPort) {
	for _, s := range list {
		out = append(out, netip.MustParseAddrPort(s))
	}
	return out
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func listenIn(t testing.TB, ns *netnstest.NS, addr string) *net.TCPListener {
	t.Helper()
	return listenBy(t, ns, net.ListenConfig{}, addr)
}

// listenElse opens a listener of ours in another namespace than the host's, on
// an address that nobody else may bind to.
func (w *world) listenElse(ns *netnstest.NS, addr netip.AddrPort) *net.TCPListener {
	w.t.Helper()
	return listenBy(w.t, ns, net.ListenConfig{Control: w.capture.Control}, addr.String())
}

func listenBy(t testing.TB, ns *netnstest.NS, config net.ListenConfig, addr string) *net.TCPListener {
	t.Helper()
	config.SetMultipathTCP(false)
	var l net.Listener
	var err error
	ns.Do(func() { l, err = config.Listen(context.Background(), "tcp", addr) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// listen opens the interceptor's listeners, two for each family.
func (w *world) listen() {
	w.listeners = nil
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0", "127.0.0.1:0", "[::1]:0"} {
		l := listenIn(w.t, w.host, addr)
		w.listeners = append(w.listeners, l)
		w.serve(l, func(c net.Conn) { w.accept(c.(*net.TCPConn)) })
	}
}

// serve answers each connection and closes it.
func (w *world) serve(l net.Listener, answer func(net.Conn)) {
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { defer c.Close(); answer(c) })
		}
	})
	w.t.Cleanup(func() { l.Close(); work.Wait() })
}

// accept is the interceptor's end: it tells the workload that it was captured.
func (w *world) accept(c *net.TCPConn) {
	w.mu.Lock()
	held := w.held
	w.mu.Unlock()
	if held != nil {
		<-held
	}
	w.mu.Lock()
	f, ok := w.capture.Lookup(addrPort(c.LocalAddr()), addrPort(c.RemoteAddr()))
	if ok {
		w.flows = append(w.flows, f)
	} else {
		w.strange++
	}
	w.mu.Unlock()
	if !ok {
		c.SetLinger(0)
		return
	}
	fmt.Fprintln(c, "captured", f.Original)
	c.CloseWrite()
	io.Copy(io.Discard, c) // what is unread would turn the close into a reset
}

// detain has connections wait for their record to be looked up until the channel is closed.
func (w *world) detain() chan<- struct{} {
	held := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = held
	return held
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

// open opens the capture and tags the listeners.
func (w *world) open() {
	w.t.Helper()
	c, err := Open(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.capture = c
	w.mu.Unlock()
	w.t.Cleanup(func() { c.Close() })
	if w.backend == nft {
		w.redirect()
	}
	for _, l := range w.listeners {
		if _, err := c.TagListener(l); err != nil {
			w.t.Fatal(err)
		}
	}
}

// redirect puts the table in place that backend nft needs, for the listeners of now.
func (w *world) redirect() {
	w.t.Helper()
	ns, err := os.Open(w.host.Path())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { ns.Close() })
	var to netfilter.Local
	for _, l := range w.config.Listen {
		if l.Addr().Is4() {
			to.IPv4 = append(to.IPv4, l.Port())
		} else {
			to.IPv6 = append(to.IPv6, l.Port())
		}
	}
	w.table, err = netfilter.Open(netfilter.Config{Name: filepath.Base(w.config.PinDir), Netns: ns, Local: to})
	if err != nil {
		w.t.Fatal(err)
	}
	table := w.table
	w.t.Cleanup(func() { table.Close() })
}

// drain waits until all that was connected has been accepted: a connection to
// each listener comes last in its queue.
func (w *world) drain() {
	w.t.Helper()
	dialer := net.Dialer{Control: w.capture.Control} // nobody but us may dial them
	for _, l := range w.listeners {
		var c net.Conn
		var err error
		w.host.Do(func() { c, err = dialer.Dial("tcp", l.Addr().String()) })
		if errors.Is(err, unix.ECONNRESET) { // accepted already, and without a record
			continue
		}
		if err != nil {
			w.t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}
}

// last is the flow that was accepted last.
func (w *world) last() flow.Flow {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.flows) == 0 {
		w.t.Fatal("no flow was accepted")
	}
	return w.flows[len(w.flows)-1]
}

// accepted counts the accepted connections with and without a record.
func (w *world) accepted() (known, strange int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.flows), w.strange
}

// counter reads one counter.
func (w *world) counter(name string) uint64 {
	w.t.Helper()
	counters, err := w.capture.Counters()
	if err != nil {
		w.t.Fatal(err)
	}
	n, ok := counters[name]
	if !ok {
		w.t.Fatalf("no counter %q in %v", name, counters)
	}
	return n
}

// records is how many connections wait for Lookup.
func (w *world) records() int {
	w.t.Helper()
	keys, err := keysOf[outwardenTuple](w.capture.maps.Flows)
	if err != nil {
		w.t.Fatal(err)
	}
	return len(keys)
}

// eventually waits for something that the kernel or another goroutine does in its own time.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for range 1000 * netnstest.Slower() {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s did not come", what)
}

func ipNet(s string) *net.IPNet {
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	return n
}

// unmapped is an address as flows have it.
func unmapped(s string) netip.AddrPort {
	a := netip.MustParseAddrPort(s)
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// who is what a flow says of its caller, as a workload says of itself.
func who(f flow.Flow) string {
	return fmt.Sprintf("%d %d %d", f.Caller.PID, f.Caller.Exe.Dev, f.Caller.Exe.Inode)
}
