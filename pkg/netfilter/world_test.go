package netfilter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// world is a host between a guest and the internet. The guest's connections are
// routed through the host.
//
//	guest: 10.8.0.2, 2001:db8:8::2 <--veth--> host: 10.8.0.1, 2001:db8:8::1
//	host: 10.9.0.1, 2001:db8:9::1 <--veth--> internet: 10.9.0.2, 2001:db8:9::2, 203.0.113.10, 2001:db8:f::10
type world struct {
	t                     *testing.T
	guest, host, internet *netnstest.NS
	inner                 string // the host's interface to the guest
	netns                 *os.File
}

const (
	server4 = "203.0.113.10:443"
	server6 = "[2001:db8:f::10]:443"
	guest4  = "10.8.0.2"
	guest6  = "2001:db8:8::2"
	table   = "outwarden-test"
)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, guest: netnstest.New(t), host: netnstest.New(t), internet: netnstest.New(t)}
	for _, ns := range []*netnstest.NS{w.guest, w.host, w.internet} {
		ns.Forward()
	}
	w.inner, _ = w.host.Veth(w.guest, prefixes("10.8.0.1/24", "2001:db8:8::1/64"), prefixes(guest4+"/24", guest6+"/64"))
	w.host.Veth(w.internet, prefixes("10.9.0.1/24", "2001:db8:9::1/64"), prefixes("10.9.0.2/24", "2001:db8:9::2/64"))
	w.internet.Address("lo", prefixes("203.0.113.10/32", "2001:db8:f::10/128")...)
	for ns, via := range map[*netnstest.NS][2]string{
		w.host: {"10.9.0.2", "2001:db8:9::2"}, w.guest: {"10.8.0.1", "2001:db8:8::1"}, w.internet: {"10.9.0.1", "2001:db8:9::1"},
	} {
		ns.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr(via[0]))
		ns.Route(netip.MustParsePrefix("::/0"), netip.MustParseAddr(via[1]))
	}
	for _, addr := range []string{server4, server6, "203.0.113.10:5432"} {
		w.serve(w.internet, addr, false, func(net.Conn) string { return "direct" })
	}
	var err error
	w.netns, err = os.Open(w.host.Path())
	must(t, err)
	t.Cleanup(func() { w.netns.Close() })
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// serve answers each connection with a line and gives the port.
func (w *world) serve(ns *netnstest.NS, addr string, transparent bool, say func(net.Conn) string) (port uint16, stop func()) {
	w.t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	if transparent {
		config.Control = Transparent
	}
	var l net.Listener
	var err error
	ns.Do(func() { l, err = config.Listen(context.Background(), "tcp", addr) })
	must(w.t, err)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(c, say(c))
			c.Close()
		}
	})
	stop = sync.OnceFunc(func() { l.Close(); work.Wait() })
	w.t.Cleanup(stop)
	return l.Addr().(*net.TCPAddr).AddrPort().Port(), stop
}

// ask connects from a namespace and gives what it is told, or the error. Its
// socket has the mark; zero is none.
func (w *world) ask(ns *netnstest.NS, addr string, mark uint32) string {
	w.t.Helper()
	var answer string
	ns.Do(func() { answer = dialAndRead(addr, mark) })
	return answer
}

// dialAndRead is for the calling thread's namespace, so that the socket is made
// by it and not by another.
func dialAndRead(addr string, mark uint32) string {
	to := netip.MustParseAddrPort(addr)
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
	if to.Addr().Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	f := os.NewFile(uintptr(fd), addr)
	defer f.Close()
	patience := unix.Timeval{Sec: 10}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience))
	if err != nil {
		return err.Error()
	}
	for err = unix.EINTR; err == unix.EINTR; { // by the scheduler's signal; the next call waits on
		err = unix.Connect(fd, sa)
	}
	if err != nil {
		return err.Error()
	}
	answer, err := io.ReadAll(f)
	if err != nil {
		var why syscall.Errno
		errors.As(err, &why)
		return why.Error()
	}
	return strings.TrimSpace(string(answer))
}

// open puts a table in place on the host and takes it away with the test.
func (w *world) open(c Config) *Table {
	w.t.Helper()
	c.Name, c.Netns = table, w.netns
	t, err := Open(c)
	must(w.t, err)
	w.t.Cleanup(func() { must(w.t, t.Close()) })
	return t
}

// foreign does to the host's nftables what a tool of somebody else would.
func (w *world) foreign(do func(c *nftables.Conn)) {
	w.t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(w.host.Fd()))
	must(w.t, err)
	do(c)
	must(w.t, c.Flush())
}

// ruleset is all tables of the host, handles and all.
func (w *world) ruleset() string {
	w.t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(w.host.Fd()))
	must(w.t, err)
	var b strings.Builder
	tables, err := c.ListTables()
	must(w.t, err)
	for _, t := range tables {
		fmt.Fprintf(&b, "table %+v\n", *t)
	}
	all, err := c.ListChains()
	must(w.t, err)
	for _, chain := range all {
		fmt.Fprintf(&b, "chain %s of %s, type %q\n", chain.Name, chain.Table.Name, chain.Type)
		rules, err := c.GetRules(chain.Table, chain)
		must(w.t, err)
		for _, r := range rules {
			fmt.Fprint(&b, r.Handle)
			for _, e := range r.Exprs {
				fmt.Fprintf(&b, " %+v", e)
			}
			fmt.Fprintln(&b)
		}
	}
	return b.String()
}

// routing is all rules and routes of the host.
func (w *world) routing() string {
	w.t.Helper()
	var b strings.Builder
	h := w.handle()
	defer h.Close()
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := h.RuleList(family)
		must(w.t, err)
		routes, err := h.RouteListFiltered(family, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		must(w.t, err)
		routes = slices.DeleteFunc(routes, func(r netlink.Route) bool { return r.Protocol == unix.RTPROT_KERNEL }) // these come in their own time
		fmt.Fprintln(&b, rules, routes)
	}
	return b.String()
}

func (w *world) handle() *netlink.Handle {
	w.t.Helper()
	h, err := netlink.NewHandleAt(netns.NsHandle(w.host.Fd()), unix.NETLINK_ROUTE)
	must(w.t, err)
	return h
}

// watch watches the table until the test ends; what is restored comes on the channel.
func (w *world) watch(t *Table) <-chan Restored {
	restored := make(chan Restored, 100)
	ctx, cancel := context.WithCancelCause(context.Background())
	over := errors.New("the test is over")
	var work sync.WaitGroup
	work.Go(func() {
		if err := t.Watch(ctx, func(r Restored) { restored <- r }); !errors.Is(err, over) {
			w.t.Errorf("watch: %v", err)
		}
	})
	w.t.Cleanup(func() { cancel(over); work.Wait() })
	return restored
}

// next waits for something to be restored.
func next(t *testing.T, restored <-chan Restored) Restored {
	t.Helper()
	select {
	case r := <-restored:
		return r
	case <-time.After(time.Duration(netnstest.Slower()) * 30 * time.Second):
		t.Fatal("nothing was restored")
	}
	return Restored{}
}
