package netfilter

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const portHTTPS = 443

// guests hands the connections of guests to our transparent listeners: one chain
// finds the guests, the other says what becomes of what they send. What they
// send to this host itself is none of ours.
func guests(c *Config) []chain {
	found := chain{
		name: "guests", kind: nftables.ChainTypeFilter,
		hook: nftables.ChainHookPrerouting, priority: *nftables.ChainPriorityMangle,
		rules: []rule{join(toThisHost(), verdict(expr.VerdictReturn, ""))},
	}
	intercept := chain{name: "intercept"}
	for _, g := range c.Guests.From {
		found.rules = append(found.rules, join(g.match(), verdict(expr.VerdictJump, intercept.name)))
	}
	for _, port := range c.Guests.Ports {
		intercept.rules = append(intercept.rules, interception(c, port)...)
	}
	if slices.Contains(c.Guests.Ports, portHTTPS) && !c.Guests.AllowQUIC {
		intercept.rules = append(intercept.rules, join(protocol(unix.IPPROTO_UDP), destined(portHTTPS), unreachable()))
	}
	return []chain{intercept, found} // a chain must be there before a rule jumps to it
}

func (g *Guest) match() (out rule) {
	if g.Interface != "" {
		out = interfaced(g.Interface)
	}
	if g.Source.IsValid() {
		out = join(out, sourced(g.Source))
	}
	return out
}

// interception hands over what goes to one port. What nobody listens for falls
// through to the refusal, unless it is to pass then.
func interception(c *Config, port uint16) (out []rule) {
	if c.Guests.IPv4 != 0 {
		out = append(out, tproxy(c, unix.NFPROTO_IPV4, port, c.Guests.IPv4))
	}
	if c.Guests.IPv6 != 0 {
		out = append(out, tproxy(c, unix.NFPROTO_IPV6, port, c.Guests.IPv6))
	}
	if !c.Guests.FailOpen {
		out = append(out, join(protocol(unix.IPPROTO_TCP), destined(port), reset()))
	}
	return out
}

func tproxy(c *Config, of byte, port, listener uint16) rule {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if of == unix.NFPROTO_IPV6 {
		loopback = netip.IPv6Loopback()
	}
	return join(
		family(of), protocol(unix.IPPROTO_TCP), destined(port),
		rule{
			load(addressRegister, loopback.AsSlice()),
			load(portRegister, binary.BigEndian.AppendUint16(nil, listener)),
			&expr.TProxy{Family: of, TableFamily: unix.NFPROTO_INET, RegAddr: addressRegister, RegPort: portRegister},
		},
		mark(c.Mark), verdict(expr.VerdictAccept, ""))
}
