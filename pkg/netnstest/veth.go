package netnstest

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var links atomic.Uint32 // names must differ only within a namespace; a counter makes it so

// Veth joins two namespaces by a veth pair, both ends up, and returns the names
// of the ends. Prefixes are addresses with their lengths ("10.0.0.1/24"): here
// those of n, there those of peer. IPv6 addresses are usable at once.
func (n *NS) Veth(peer *NS, here, there []netip.Prefix) (string, string) {
	n.t.Helper()
	id := links.Add(1)
	a, b := fmt.Sprintf("ow%da", id), fmt.Sprintf("ow%db", id)
	n.Do(func() {
		pair := &netlink.Veth{
			LinkAttrs:     netlink.LinkAttrs{Name: a},
			PeerName:      b,
			PeerNamespace: netlink.NsFd(peer.Fd()),
		}
		if err := netlink.LinkAdd(pair); err != nil {
			n.t.Fatalf("make veth pair: %v", err)
		}
	})
	n.Address(a, here...)
	peer.Address(b, there...)
	return a, b
}

// Address gives a link addresses and brings it up.
func (n *NS) Address(link string, addrs ...netip.Prefix) {
	n.t.Helper()
	n.Do(func() {
		up(n.t, link)
		l, err := netlink.LinkByName(link)
		if err != nil {
			n.t.Fatalf("find %s: %v", link, err)
		}
		for _, a := range addrs {
			addr := &netlink.Addr{IPNet: ipNet(a)}
			if a.Addr().Is6() {
				addr.Flags = unix.IFA_F_NODAD // no wait for duplicate address detection
			}
			if err := netlink.AddrAdd(l, addr); err != nil {
				n.t.Fatalf("add %s to %s: %v", a, link, err)
			}
		}
	})
}

// Route sends a prefix through a gateway.
func (n *NS) Route(to netip.Prefix, via netip.Addr) {
	n.t.Helper()
	n.Do(func() {
		route := &netlink.Route{Dst: ipNet(to.Masked()), Gw: net.IP(via.AsSlice())}
		if err := netlink.RouteAdd(route); err != nil {
			n.t.Fatalf("route %s via %s: %v", to, via, err)
		}
	})
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
