package upstream

import (
	"encoding/binary"
	"net/netip"
)

// block is a prefix and what it is called in errors.
type block struct {
	prefix  netip.Prefix
	name    string
	private bool // Profile.AllowPrivate allows it
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
		out = append(out, block{prefix: p, name: name})
	}
	return out
}

// octets holds, for each first octet of an address, the blocks that such an
// address can lie in, in the order of the lists. Most octets have none.
type octets [256][]block

var denied4, denied6 = deniedBy(4), deniedBy(16)

func deniedBy(size int) *octets {
	by := new(octets)
	for _, b := range neverDialled {
		by.enter(b, size)
	}
	for _, b := range privateBlocks {
		b.private = true
		by.enter(b, size)
	}
	return by
}

func (by *octets) enter(b block, size int) {
	address := b.prefix.Addr().AsSlice()
	if len(address) != size {
		return
	}
	first := address[0]
	last := first | byte(0xff>>min(b.prefix.Bits(), 8))
	for octet := int(first); octet <= int(last); octet++ {
		by[octet] = append(by[octet], b)
	}
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
	near := near(a)
	for i := range near {
		if b := &near[i]; !(b.private && allowPrivate) && b.prefix.Contains(a) {
			return b.name
		}
	}
	return ""
}

// near returns the blocks that share a's first octet.
func near(a netip.Addr) []block {
	if a.Is4() {
		return denied4[a.As4()[0]]
	}
	return denied6[a.As16()[0]]
}

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
	switch high := word(0); {
	case high>>16 == 0x2002: // 2002::/16, RFC 3056
		return []netip.Addr{v4(word(2))}
	case high == 0x20010000: // 2001::/32, RFC 4380
		return []netip.Addr{v4(word(4)), v4(^word(12))}
	case translates(high, word(4), word(8)) && a != netip.IPv6Loopback(),
		word(8)&^universal == isatap:
		return []netip.Addr{v4(word(12))}
	}
	return nil
}

// translates reports whether an address that begins with these 96 bits is an IPv4
// one in another dress.
func translates(a, b, c uint32) bool {
	const wellKnown = 0x0064ff9b
	switch {
	case a == 0 && b == 0:
		return c == 0 || c == 0xffff0000 // ::/96, RFC 4291 section 2.5.5.1; ::ffff:0:0:0/96, RFC 2765
	case a == wellKnown:
		return b == 0 && c == 0 || b>>16 == 1 // 64:ff9b::/96, RFC 6052; 64:ff9b:1::/48, RFC 8215
	}
	return false
}

func v4(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}
