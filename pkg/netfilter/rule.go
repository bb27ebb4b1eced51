package netfilter

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// rule is a list of expressions: conditions, then what is to be done.
type rule = []expr.Any

// chain is a chain of our table before it is in the kernel.
type chain struct {
	name     string
	kind     nftables.ChainType  // "": entered by a jump alone
	hook     *nftables.ChainHook // of a base chain
	priority nftables.ChainPriority
	rules    []rule
}

func (c *chain) of(table *nftables.Table) *nftables.Chain {
	out := &nftables.Chain{Name: c.name, Table: table}
	if c.kind != "" {
		out.Type, out.Hooknum, out.Priority = c.kind, c.hook, &c.priority
	}
	return out
}

// chains are all that a configuration asks for.
func chains(c *Config) []chain {
	var all []chain
	if len(c.Local.IPv4)+len(c.Local.IPv6) > 0 {
		all = append(all, local(c))
	}
	if len(c.Guests.From) > 0 {
		all = append(all, guests(c)...)
	}
	return all
}

// register is the one that conditions use; statements take port and address.
const (
	register        = unix.NFT_REG_1
	portRegister    = unix.NFT_REG_1
	addressRegister = unix.NFT_REG_2
)

func join(parts ...rule) (out rule) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func equals(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: data}
}

func meta(key expr.MetaKey, want []byte) rule {
	return rule{&expr.Meta{Key: key, Register: register}, equals(want)}
}

func family(of byte) rule { return meta(expr.MetaKeyNFPROTO, []byte{of}) }

func protocol(number byte) rule { return meta(expr.MetaKeyL4PROTO, []byte{number}) }

// marked: the bit is set, whatever the others are.
func marked(bit uint32) rule {
	return rule{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: register},
		masked(binaryutil.NativeEndian.PutUint32(bit), make([]byte, 4)),
		equals(binaryutil.NativeEndian.PutUint32(bit)),
	}
}

// mark sets the bit and keeps the others.
func mark(bit uint32) rule {
	return rule{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: register},
		masked(binaryutil.NativeEndian.PutUint32(^bit), binaryutil.NativeEndian.PutUint32(bit)),
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: register},
	}
}

func masked(mask, xor []byte) expr.Any {
	return &expr.Bitwise{SourceRegister: register, DestRegister: register, Len: uint32(len(mask)), Mask: mask, Xor: xor}
}

// interfaced: the packet came in by the interface of this name.
func interfaced(name string) rule {
	var b [unix.IFNAMSIZ]byte
	copy(b[:], name)
	return meta(expr.MetaKeyIIFNAME, b[:])
}

// sourced: the packet comes from this prefix.
func sourced(p netip.Prefix) rule {
	const offset4, offset6 = 12, 8 // of the source in the header
	p = p.Masked()
	addr := p.Addr().AsSlice()
	of, offset := byte(unix.NFPROTO_IPV6), uint32(offset6)
	if p.Addr().Is4() {
		of, offset = unix.NFPROTO_IPV4, offset4
	}
	return join(family(of), rule{
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(addr))},
		masked(ones(p.Bits(), len(addr)), make([]byte, len(addr))),
		equals(addr),
	})
}

// ones is a mask of n bits in size bytes.
func ones(n, size int) []byte {
	b := make([]byte, size)
	for i := range n {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return b
}

// destined: the destination port, of TCP or UDP.
func destined(port uint16) rule {
	const offset, size = 2, 2
	return rule{
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: size},
		equals(binary.BigEndian.AppendUint16(nil, port)),
	}
}

// local destinations are those of this host.
func toThisHost() rule {
	return rule{
		&expr.Fib{Register: register, FlagDADDR: true, ResultADDRTYPE: true},
		equals(binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)),
	}
}

func load(into uint32, data []byte) expr.Any { return &expr.Immediate{Register: into, Data: data} }

func verdict(kind expr.VerdictKind, chain string) rule {
	return rule{&expr.Verdict{Kind: kind, Chain: chain}}
}

// reset answers a TCP packet with RST.
func reset() rule { return rule{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}} }

// unreachable says that nobody has the port, in the family's own ICMP.
func unreachable() rule {
	return rule{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}}
}
