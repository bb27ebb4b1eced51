package capture

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// TestProbesLieInTheirPrefix holds for the default routes too.
func TestProbesLieInTheirPrefix(t *testing.T) {
	always(t, func(b [16]byte, ipv4 bool, bits uint8) bool {
		a := anyAddr(b, ipv4)
		p := netip.PrefixFrom(a, int(bits)%(a.BitLen()+1)).Masked()
		return !slices.ContainsFunc(probes(p), func(probe netip.Addr) bool { return !p.Contains(probe) })
	})
}

func TestLongest(t *testing.T) {
	known := map[netip.Prefix]bool{}
	for _, p := range prefixes("0.0.0.0/0", "10.0.0.0/8", "10.9.0.0/24", "10.9.0.1/32", "::/0", "fc00::/7") {
		known[p] = true
	}
	for addr, want := range map[string]string{
		"192.0.2.1": "0.0.0.0/0", "10.1.1.1": "10.0.0.0/8", "10.9.0.2": "10.9.0.0/24", "10.9.0.1": "10.9.0.1/32",
		"2001:db8::1": "::/0", "fd00::1": "fc00::/7",
	} {
		if got := longest(known, netip.MustParseAddr(addr)); got.String() != want {
			t.Errorf("%s lies in %v, want %s", addr, got, want)
		}
	}
}

// sourcesIn asks in a network namespace.
func sourcesIn(t *testing.T, ns *netnstest.NS, most int) []source {
	t.Helper()
	var handle *netlink.Handle
	var err error
	ns.Do(func() { handle, err = netlink.NewHandle(unix.NETLINK_ROUTE) })
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	found, err := sources(handle, most)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestSources: on a host with several ways out, the address the kernel would choose.
func TestSources(t *testing.T) {
	a, b := netnstest.New(t), netnstest.New(t)
	a.Veth(b, prefixes("10.1.0.1/24", "2001:db8:1::1/64"), prefixes("10.1.0.2/24", "2001:db8:1::2/64"))
	a.Veth(b, prefixes("10.2.0.1/24", "fd00:2::1/64"), prefixes("10.2.0.2/24", "fd00:2::2/64"))
	a.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.1.0.2"))
	a.Route(netip.MustParsePrefix("172.16.0.0/12"), netip.MustParseAddr("10.2.0.2"))
	a.Route(netip.MustParsePrefix("::/0"), netip.MustParseAddr("2001:db8:1::2"))
	found := sourcesIn(t, a, mostRoutes)
	known, chosen := map[netip.Prefix]bool{}, map[netip.Prefix]netip.Addr{}
	for _, s := range found {
		known[s.prefix], chosen[s.prefix] = true, s.addr
	}
	for _, to := range []string{"203.0.113.1", "172.20.1.1", "10.2.0.77", "10.1.0.77", "10.2.0.1", "2001:db8:f::1", "fd00:2::77", "fd77::1"} {
		addr := netip.MustParseAddr(to)
		var want netip.AddrPort
		a.Do(func() { // an unsent datagram's socket has the address that the kernel chooses
			c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 9)))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			want = c.LocalAddr().(*net.UDPAddr).AddrPort()
		})
		if got := chosen[longest(known, addr)]; got != want.Addr() {
			t.Errorf("to %s from %v, want %v", to, got, want.Addr())
		}
	}
}

// TestRouteChange: an address that changes shows in getsockname.
func TestRouteChange(t *testing.T) {
	w := newWorld(t, rewrite)
	w.host.Address(w.device(), prefixes("10.9.0.200/24")...)
	source := netlink.Route{Dst: ipNet("198.51.100.0/24"), Gw: netip.MustParseAddr("10.9.0.2").AsSlice(), Src: netip.MustParseAddr("10.9.0.200").AsSlice()}
	w.host.Do(func() {
		if err := netlink.RouteAdd(&source); err != nil {
			t.Fatal(err)
		}
	})
	key := toRoute(w.capture.Netns(), prefixes("198.51.100.7/32")[0])
	shown := func() netip.Addr {
		var a outwardenAddr
		if err := w.capture.maps.Routes.Lookup(&key, &a); err != nil {
			t.Fatal(err)
		}
		return fromAddr(a)
	}
	eventually(t, "the new source", func() bool { return shown().String() == "10.9.0.200" })
	got := w.run(w.cgroup, step{Do: "socket"}, step{Do: "connect", Addr: "198.51.100.7:443"}, step{Do: "names"})
	if local := netip.MustParseAddrPort(got[2].Local); local.Addr().String() != "10.9.0.200" {
		t.Errorf("local address %v", local)
	}
	w.host.Do(func() {
		if err := netlink.RouteDel(&source); err != nil {
			t.Fatal(err)
		}
	})
	eventually(t, "the old source", func() bool { return shown().String() == "10.9.0.1" })
}

// TestMostRoutes: of a namespace with more routes than it is due, the shortest
// are kept, and the default route among them.
func TestMostRoutes(t *testing.T) {
	const most = 40
	a, b := netnstest.New(t), netnstest.New(t)
	a.Veth(b, prefixes("10.1.0.1/24"), prefixes("10.1.0.2/24"))
	for i := range 3 * most {
		a.Route(netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, 0, byte(i)}), 32), netip.MustParseAddr("10.1.0.2"))
	}
	a.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.1.0.2"))
	found := sourcesIn(t, a, most)
	byDefault := source{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.1.0.1")}
	if len(found) > most || !slices.Contains(found, byDefault) {
		t.Errorf("%d sources, at most %d wanted, and %v among %v", len(found), most, byDefault, found)
	}
}
