package capture

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// How many prefixes of one network namespace are kept, the shortest first. A
// host with more is a router; its workloads still see a right address wherever
// the shorter prefix has the same source. Other namespaces may belong to somebody
// who would fill the map, so that none is left for others.
const (
	mostRoutes       = 4096
	mostRoutesOfElse = 256
)

// source is the address the kernel would choose for destinations in a prefix.
type source struct {
	prefix netip.Prefix
	addr   netip.Addr
}

// sources asks the kernel for the source address of every prefix in its tables,
// rules included. It is asked for one address that lies in this prefix and in
// no longer one. IPv6 prefixes of its own source selection (RFC 6724) are added.
func sources(h *netlink.Handle, most int) ([]source, error) {
	prefixes, err := destinations(h, most)
	if err != nil {
		return nil, err
	}
	known := make(map[netip.Prefix]bool, len(prefixes))
	for _, p := range prefixes {
		known[p] = true
	}
	found := make([]source, 0, len(prefixes))
	for _, p := range prefixes {
		for _, probe := range probes(p) {
			if longest(known, probe) != p {
				continue
			}
			if addr, ok := sourceFor(h, probe); ok {
				found = append(found, source{p, addr})
				break
			}
		}
	}
	return found, nil
}

// destinations lists the prefixes in all routing tables, shortest first and not
// more than most. A list that changed while it was read will do: the change is
// reported too.
func destinations(h *netlink.Handle, most int) ([]netip.Prefix, error) {
	prefixes := []netip.Prefix{netip.MustParsePrefix("fc00::/7")} // unique local: a source of its own kind
	for family, any := range map[int]netip.Prefix{
		netlink.FAMILY_V4: netip.PrefixFrom(netip.IPv4Unspecified(), 0),
		netlink.FAMILY_V6: netip.PrefixFrom(netip.IPv6Unspecified(), 0),
	} {
		all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
		err := h.RouteListFilteredIter(family, all, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			p := any
			if r.Dst != nil {
				p = toPrefix(r.Dst)
			}
			if p.IsValid() && !p.Addr().IsMulticast() {
				prefixes = append(prefixes, p)
			}
			if len(prefixes) >= 2*most {
				prefixes = shortest(prefixes, most)
			}
			return true
		})
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, err
		}
	}
	return shortest(prefixes, most), nil
}

// shortest sorts prefixes by length, removes what stands twice, and cuts the rest off.
func shortest(prefixes []netip.Prefix, most int) []netip.Prefix {
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(a.Bits(), b.Bits()), a.Addr().Compare(b.Addr()))
	})
	prefixes = slices.Compact(prefixes)
	return prefixes[:min(len(prefixes), most)]
}

func toPrefix(n *net.IPNet) netip.Prefix {
	addr, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}
	}
	bits, size := n.Mask.Size()
	if addr = addr.Unmap(); size != addr.BitLen() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(addr, bits).Masked()
}

// probes are addresses in a prefix to ask for, best first.
func probes(p netip.Prefix) []netip.Addr {
	if p.IsSingleIP() {
		return []netip.Addr{p.Addr()}
	}
	if p.Bits() == 0 { // nobody may route these, but the kernel must: 0.0.0.1 and ::1 are no destinations
		if p.Addr().Is4() {
			return parse("192.0.2.1", "198.51.100.1", "203.0.113.1", "9.9.9.9")
		}
		return parse("2000::1", "2001:db8::1", "2620:fe::fe")
	}
	last := lastAddr(p)
	return []netip.Addr{p.Addr().Next(), last.Prev(), middle(p), p.Addr(), last}
}

func parse(list ...string) []netip.Addr {
	addrs := make([]netip.Addr, len(list))
	for i, s := range list {
		addrs[i] = netip.MustParseAddr(s)
	}
	return addrs
}

// lastAddr is the highest address in a prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// middle is the first address of the prefix's upper half.
func middle(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	b[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	a, _ := netip.AddrFromSlice(b)
	return a
}

// longest is the longest known prefix that contains an address.
func longest(known map[netip.Prefix]bool, a netip.Addr) netip.Prefix {
	for bits := a.BitLen(); bits >= 0; bits-- {
		if p := netip.PrefixFrom(a, bits).Masked(); known[p] {
			return p
		}
	}
	return netip.Prefix{}
}

// sourceFor asks the kernel as a connect() would.
func sourceFor(h *netlink.Handle, to netip.Addr) (netip.Addr, bool) {
	routes, err := h.RouteGet(to.AsSlice())
	if err != nil || len(routes) == 0 {
		return netip.Addr{}, false // unreachable, blackhole: there is no source
	}
	addr, ok := netip.AddrFromSlice(routes[0].Src)
	return addr.Unmap(), ok
}
