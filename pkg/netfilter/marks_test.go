package netfilter

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestMarks: rules that read or write our bit are found, whoever made them;
// those that leave it alone, and ours, are not.
func TestMarks(t *testing.T) {
	w := newWorld(t)
	w.open(Config{Local: Local{IPv4: []uint16{1}}})
	read := &expr.Meta{Key: expr.MetaKeyMARK, Register: register}
	write := &expr.Meta{Key: expr.MetaKeyMARK, Register: register, SourceRegister: true}
	bits := func(mask, xor uint32) expr.Any {
		return &expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Mask: native(mask), Xor: native(xor)}
	}
	value := func(v uint32) expr.Any { return &expr.Immediate{Register: register, Data: native(v)} }
	w.foreign(func(c *nftables.Conn) {
		table := c.AddTable(&nftables.Table{Name: "foreign", Family: nftables.TableFamilyIPv4})
		chain := c.AddChain(&nftables.Chain{Name: "c", Table: table})
		for _, r := range []rule{
			{read, equals(native(0x10))},
			{read, bits(0x30, 0), equals(native(0x20))},
			{value(0x10), write},
			{read, bits(^uint32(0x10), 0), write},
			{read, bits(^uint32(0x10), 0x10), write},
			{read, equals(native(0x1))}, // from here on none is ours
			{read, bits(0x1, 0), equals(native(0x1))},
			{read, bits(^uint32(0x1), 0x1), write},
			protocol(unix.IPPROTO_ICMP),
		} {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: r})
		}
	})
	w.policy(77, 0x10, 0xff)
	w.policy(78, 0x1, 0xffffffff)
	uses, err := Marks(w.netns, 0x10, table)
	must(t, err)
	var got []string
	for _, u := range uses {
		got = append(got, strings.TrimPrefix(u.String(), "nftables table foreign chain c "))
	}
	want := []string{
		"matches mark 0x10/0xffffffff",
		"matches mark 0x20/0x30",
		"sets mark 0x10/0xffffffff",
		"sets mark 0x0/0x10",
		"sets mark 0x10/0x10",
		"policy rule 77 to routing table 99 matches mark 0x10/0xff",
	}
	if !slices.Equal(got, want) {
		t.Errorf("uses:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestMarksOfIptables: rules of iptables-nft keep the mark in extensions.
func TestMarksOfIptables(t *testing.T) {
	match, target := xt.Unknown(slices.Concat(native(0x10), native(0x30), []byte{0, 0, 0, 0})), xt.Unknown(slices.Concat(native(0x1), native(0xff)))
	other := xt.Unknown(make([]byte, 16))
	uses := markUses("rule", &nftables.Rule{Exprs: rule{
		&expr.Match{Name: "mark", Rev: 1, Info: &match}, &expr.Match{Name: "owner", Info: &other}, &expr.Target{Name: "MARK", Rev: 2, Info: &target},
	}})
	want := []MarkUse{{"rule", 0x10, 0x30, false}, {"rule", 0x1, 0xff, true}}
	if !slices.Equal(uses, want) {
		t.Errorf("%v, want %v", uses, want)
	}
}

func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// policy makes a policy rule of somebody else.
func (w *world) policy(priority int, mark, mask uint32) {
	w.t.Helper()
	h := w.handle()
	defer h.Close()
	r := netlink.NewRule()
	r.Priority, r.Mark, r.Mask, r.Table = priority, mark, &mask, 99
	must(w.t, h.RuleAdd(r))
}
