package netnstest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestVethJoinsTwoNamespaces(t *testing.T) {
	a, b := New(t), New(t)
	a.Veth(b,
		[]netip.Prefix{netip.MustParsePrefix("10.9.0.1/24"), netip.MustParsePrefix("2001:db8::1/64")},
		[]netip.Prefix{netip.MustParsePrefix("10.9.0.2/24"), netip.MustParsePrefix("2001:db8::2/64")})
	for _, addr := range []string{"10.9.0.2:0", "[2001:db8::2]:0"} {
		var l net.Listener
		var err error
		b.Do(func() { l, err = net.Listen("tcp", addr) })
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var c net.Conn
		a.Do(func() { c, err = net.Dial("tcp", l.Addr().String()) })
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

func TestRouteReachesBeyondTheLink(t *testing.T) {
	a, b := New(t), New(t)
	a.Veth(b, []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24")}, []netip.Prefix{netip.MustParsePrefix("10.9.0.2/24")})
	b.Address("lo", netip.MustParsePrefix("203.0.113.1/32"))
	a.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.9.0.2"))
	var got []netlink.Route
	var err error
	a.Do(func() { got, err = netlink.RouteGet(net.ParseIP("203.0.113.1")) })
	if err != nil || len(got) != 1 || got[0].Src.String() != "10.9.0.1" {
		t.Errorf("route to 203.0.113.1 = %v, %v; want source 10.9.0.1", got, err)
	}
}

func TestCommandRunsInNamespaceAndCgroup(t *testing.T) {
	n, cgroup := New(t), Cgroup(t)
	out, err := n.Output(cgroup, "sh", "-c", "readlink /proc/self/ns/net; cat /proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	ns, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", n.Fd()))
	if err != nil || !strings.HasPrefix(out, ns+"\n") {
		t.Errorf("child's namespace: %q, want %q (%v)", out, ns, err)
	}
	if want := "0::/" + filepath.Base(cgroup) + "\n"; !strings.Contains(out, want) {
		t.Errorf("child's cgroup: %q has no line %q", out, want)
	}
}

func TestDoComesBack(t *testing.T) {
	before, _ := os.Readlink("/proc/thread-self/ns/net")
	New(t).Do(func() {
		if inside, _ := os.Readlink("/proc/thread-self/ns/net"); inside == before {
			t.Errorf("inside Do the namespace is still %s", before)
		}
	})
	if after, _ := os.Readlink("/proc/thread-self/ns/net"); after != before {
		t.Errorf("namespace after Do = %s, before %s", after, before)
	}
}
