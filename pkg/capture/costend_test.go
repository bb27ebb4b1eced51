package capture

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netfilter"
	"github.com/outwarden/outwarden/pkg/netnstest"
)

// farEnd is a host whose workloads connect, and what accepts there: our
// listeners, and plain ones at the addresses that workloads mean. Its sockets are
// made in its tree, as those of its workloads are.
type farEnd struct {
	w                     *world
	tree, scoped, outside string        // cgroups: the latter two are below the first
	fds                   []unix.PollFd // the listeners; nobody waits for them but accept
	netns                 uint64
	found                 int // records
}

func newFarEnd(t testing.TB, how backend) *farEnd {
	t.Helper()
	w := &world{t: t, backend: how, host: netnstest.New(t)}
	w.host.Address("lo", prefixes("203.0.113.10/32")...)
	e := &farEnd{w: w, tree: netnstest.Cgroup(t)}
	e.scoped, e.outside = netnstest.Subgroup(t, e.tree, "scoped"), netnstest.Subgroup(t, e.tree, "outside")
	netnstest.Join(t, e.outside)
	w.config = Config{PinDir: filepath.Join(bpffs, fmt.Sprintf("outwarden-cost-%d-%s", os.Getpid(), filepath.Base(e.tree))), Ports: []uint16{443}}
	for range 4 { // as many as the daemon has
		l := listenIn(t, w.host, "127.0.0.1:0")
		w.listeners, w.config.Listen = append(w.listeners, l), append(w.config.Listen, addrPort(l.Addr()))
	}
	if how == nft {
		w.config.Redirect = netfilter.DefaultMark
		w.redirect()
	}
	for _, addr := range []string{server4, other4} {
		e.own(listenIn(t, w.host, addr))
	}
	e.sink()
	return e
}

// sinkPort is where nobody reads what comes, and nothing is refused as QUIC.
const sinkPort = 5300

// sink is a UDP socket that nobody reads.
func (e *farEnd) sink() {
	t := e.w.t
	t.Helper()
	e.w.host.Do(func() {
		c, err := net.ListenPacket("udp4", fmt.Sprintf("203.0.113.10:%d", sinkPort))
		if err != nil {
			t.Fatal(err)
		}
		file, err := c.(*net.UDPConn).File()
		if err != nil {
			t.Fatal(err)
		}
		c.Close() // and with it Go's poller, which packets would wake
		t.Cleanup(func() { file.Close() })
	})
}

// own takes a listener from Go's poller, which each connect would wake.
func (e *farEnd) own(l *net.TCPListener) {
	t := e.w.t
	t.Helper()
	file, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	t.Cleanup(func() { file.Close() })
	fd := int(file.Fd()) // which also makes it block
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	e.fds = append(e.fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
}

// bare has our listeners serve without a capture.
func (e *farEnd) bare() *farEnd {
	e.w.t.Helper()
	for _, l := range e.w.listeners {
		e.own(l)
	}
	return e
}

// capture opens one of the scoped cgroup and gives what it attached, which is
// detached from then on.
func (e *farEnd) capture() []attachment {
	t := e.w.t
	t.Helper()
	c, err := Open(e.w.config)
	if err != nil {
		t.Fatal(err)
	}
	e.w.capture = c
	t.Cleanup(func() {
		if _, err := Detach(e.w.config.PinDir); err != nil {
			t.Error(err)
		}
		c.Close()
	})
	if err := c.AddScope(e.scoped); err != nil {
		t.Fatal(err)
	}
	for _, l := range e.w.listeners {
		if e.netns, err = c.TagListener(l); err != nil {
			t.Fatal(err)
		}
		e.own(l)
	}
	return takeAttached(t, c, e.tree)
}

// accept takes connections until n have come; of n < 0 those that wait.
func (e *farEnd) accept(n int) {
	e.w.t.Helper()
	patience := 5000 // milliseconds
	if n < 0 {
		patience = 0
	}
	for n != 0 {
		ready, err := unix.Poll(e.fds, patience)
		if err == unix.EINTR {
			continue
		}
		if ready == 0 && n < 0 {
			return
		}
		if ready <= 0 {
			e.w.t.Fatalf("%d connections did not come: %v", n, err)
		}
		for _, f := range e.fds {
			if f.Revents != 0 && e.take(int(f.Fd)) {
				n--
			}
		}
	}
}

// take accepts one connection, looks it up where it is ours, and closes it.
func (e *farEnd) take(listener int) bool {
	fd, peer, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	local, err := unix.Getsockname(fd)
	if err != nil {
		e.w.t.Fatal(err)
	}
	at := toAddrPort(local)
	if !at.Addr().IsLoopback() || e.w.capture == nil {
		return true
	}
	if _, ok := e.w.capture.LookupIn(e.netns, at, toAddrPort(peer)); ok {
		e.found++
	}
	return true
}

func toAddrPort(sa unix.Sockaddr) netip.AddrPort {
	sa4 := sa.(*unix.SockaddrInet4)
	return netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), uint16(sa4.Port))
}
