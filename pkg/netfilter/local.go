package netfilter

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// beforeOthers runs our nat chain ahead of those at the usual priority: where
// another table translates the destination too, as for the services of a
// cluster, the first decides, and the address that the workload meant is what we
// are to see.
const beforeOthers = -105

// local redirects the marked connections of local sockets to our listeners.
func local(c *Config) chain {
	out := chain{
		name: "output", kind: nftables.ChainTypeNAT,
		hook: nftables.ChainHookOutput, priority: beforeOthers,
	}
	for _, f := range []struct {
		family byte
		ports  []uint16
	}{{unix.NFPROTO_IPV4, c.Local.IPv4}, {unix.NFPROTO_IPV6, c.Local.IPv6}} {
		for i, port := range f.ports {
			out.rules = append(out.rules, join(
				family(f.family), protocol(unix.IPPROTO_TCP), marked(c.Mark), oneOf(len(f.ports)-i), redirect(port)))
		}
	}
	return out
}

// oneOf lets one packet of n through, by chance. A port whose turn comes with n
// ports left, itself among them, gets its even share.
func oneOf(n int) rule {
	if n == 1 {
		return nil
	}
	return rule{
		&expr.Numgen{Register: register, Modulus: uint32(n), Type: unix.NFT_NG_RANDOM},
		equals(make([]byte, 4)),
	}
}

// redirect sends the connection to a port of the loopback address.
func redirect(port uint16) rule {
	return rule{load(portRegister, binary.BigEndian.AppendUint16(nil, port)), &expr.Redir{RegisterProtoMin: portRegister}}
}
