package upstream

import (
	"encoding/binary"
	"net/netip"
)

// block is a prefix and what it is called in errors.
type block struct {
	prefix netip.Prefix
	name   string
}

// neverDialled are addresses that no setting allows. Metadata services come
// first, because some live inside ranges of another kind.
var neverDialled = blocks(
	"metadata", "169.254.169.254/32", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32",
	"fd00:ec2::254/128", "fd20:ce::254/128", "fd00:42::42/128",
	"link-local", "169.254.0.0/16", "fe80::/10",
	"unspecified", "0.0.0.0/8", "::/128",
	"multicast", "224.0.0.0/4", "ff00::/8",
	"reserved", "240.0.0.0/4", "192.0.0.0/24", "192.88.99.0/24", "100::/64",
)

// privateBlocks are what Profile.AllowPrivate allows.
var privateBlocks = blocks(
	"loopback", "127.0.0.0/8", "::1/128",
	"private", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fec0::/10",
	"unique local", "fc00::/7",
	"shared (CGNAT)", "100.64.0.0/10",
	"locally translated", "64:ff9b:1::/48",
)

// blocks reads a list in which words without a slash name the prefixes after
// them.
func blocks(list ...string) []block {
	var out []block
	name := ""
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			name = s
			continue
		}
		out = append(out, block{p, name})
	}
	return out
}

// DeniedRange names the range for which a may not be dialled by our resolver's
// answer, or returns "". Test networks (192.0.2.0/24, 198.51.100.0/24,
// 203.0.113.0/24, 198.18.0.0/15, 2001:db8::/32) are allowed. An IPv6 address that
// embeds an IPv4 one is judged by both.
func DeniedRange(a netip.Addr, allowPrivate bool) string {
	if !a.IsValid() {
		return "invalid"
	}
	a = a.WithZone("").Unmap()
	if name := deniedPlain(a, allowPrivate); name != "" {
		return name
	}
	for _, v4 := range embedded(a) {
		if name := deniedPlain(v4, allowPrivate); name != "" {
			return name + ", embedded"
		}
	}
	return ""
}

func deniedPlain(a netip.Addr, allowPrivate bool) string {
	for _, b := range neverDialled {
		if b.prefix.Contains(a) {
			return b.name
		}
	}
	if allowPrivate {
		return ""
	}
	for _, b := range privateBlocks {
		if b.prefix.Contains(a) {
			return b.name
		}
	}
	return ""
}

var (
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291 section 2.5.5.1
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
)

// isatap is the interface identifier 0000:5efe, its universal bit aside
// (RFC 5214 section 6.1).
const isatap = 0x00005efe

// embedded returns the IPv4 addresses that a stands for on some network.
func embedded(a netip.Addr) []netip.Addr {
	if !a.Is6() {
		return nil
	}
	b := a.As16()
	word := func(i int) uint32 { return binary.BigEndian.Uint32(b[i:]) }
	const universal = 0x02000000
	switch {
	case compatible.Contains(a), translated.Contains(a), nat64.Contains(a), nat64Local.Contains(a):
		if a == netip.IPv6Loopback() {
			return nil
		}
		return []netip.Addr{v4(word(12))}
	case sixToFour.Contains(a):
		return []netip.Addr{v4(word(2))}
	case teredo.Contains(a):
		return []netip.Addr{v4(word(4)), v4(^word(12))}
	case word(8)&^universal == isatap:
		return []netip.Addr{v4(word(12))}
	}
	return nil
}

func v4(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}
