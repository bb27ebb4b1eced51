package netfilter

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// MarkUse is a rule of somebody else that reads or writes bits of a packet's mark.
type MarkUse struct {
	Where  string `json:"where"` // table and chain, or the policy rule
	Value  uint32 `json:"value"`
	Mask   uint32 `json:"mask"`
	Writes bool   `json:"writes,omitempty"`
}

func (u MarkUse) String() string {
	verb := "matches"
	if u.Writes {
		verb = "sets"
	}
	return fmt.Sprintf("%s %s mark %#x/%#x", u.Where, verb, u.Value, u.Mask)
}

// touches reports whether a packet with these bits fares otherwise for the use.
// A whole mark that is compared without our bits is the business of others.
func (u MarkUse) touches(bits uint32) bool {
	if !u.Writes && u.Mask == ^uint32(0) {
		return u.Value&bits != 0
	}
	return u.Mask&bits != 0
}

// Marks lists the nftables rules (those of iptables-nft among them) and the
// policy rules of a network namespace (nil: the caller's) that use any of these
// bits of the mark, but for tables whose name begins with ours and policy rules
// that we made. What the old iptables keep is not seen. It changes nothing.
func Marks(ns *os.File, bits uint32, ours string) ([]MarkUse, error) {
	t, err := dial(ns)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	uses, err := t.markRules(ours)
	if err != nil {
		return nil, err
	}
	for family := range families() {
		policy, err := t.markPolicies(family)
		if err != nil && !hasNoIPv6(err) {
			return nil, err
		}
		uses = append(uses, policy...)
	}
	var found []MarkUse
	for _, u := range uses {
		if u.touches(bits) {
			found = append(found, u)
		}
	}
	return found, nil
}

func (t *Table) markRules(ours string) (uses []MarkUse, err error) {
	chains, err := t.nft.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list the chains: %w", err)
	}
	for _, c := range chains {
		if strings.HasPrefix(c.Table.Name, ours) {
			continue
		}
		rules, err := t.nft.GetRules(c.Table, c)
		if err != nil {
			return nil, fmt.Errorf("list the rules of %s %s: %w", c.Table.Name, c.Name, err)
		}
		for _, r := range rules {
			uses = append(uses, markUses("nftables table "+c.Table.Name+" chain "+c.Name, r)...)
		}
	}
	return uses, nil
}

func (t *Table) markPolicies(family int) (uses []MarkUse, err error) {
	rules, err := t.routes.RuleListFiltered(family, nil, 0)
	if err != nil {
		return nil, err
	}
	for _, r := range rules {
		if r.Protocol == routeProtocol || r.Mark == 0 && r.Mask == nil {
			continue
		}
		use := MarkUse{Where: fmt.Sprintf("policy rule %d to routing table %d", r.Priority, r.Table), Value: r.Mark, Mask: ^uint32(0)}
		if r.Mask != nil {
			use.Mask = *r.Mask
		}
		uses = append(uses, use)
	}
	return uses, nil
}

// markUses follows the mark through the expressions of a rule: loaded, masked,
// compared or written back.
func markUses(where string, r *nftables.Rule) (uses []MarkUse) {
	mask, value := ^uint32(0), uint32(0)
	loaded := false
	for _, e := range r.Exprs {
		switch e := e.(type) {
		case *expr.Immediate:
			mask, value = ^uint32(0), word(e.Data)
		case *expr.Bitwise:
			mask, value = word(e.Mask), word(e.Xor)
		case *expr.Cmp:
			if loaded {
				uses = append(uses, MarkUse{Where: where, Value: word(e.Data), Mask: mask})
			}
			loaded = false
		case *expr.Meta:
			if e.Key != expr.MetaKeyMARK {
				loaded = false
				continue
			}
			if e.SourceRegister {
				uses = append(uses, written(where, value, mask, loaded))
			}
			mask, loaded = ^uint32(0), !e.SourceRegister
		case *expr.Match:
			uses = append(uses, fromIptables(where, "mark", e.Name, e.Info, false)...)
		case *expr.Target:
			uses = append(uses, fromIptables(where, "MARK", e.Name, e.Info, true)...)
		}
	}
	return uses
}

// written: (mark & mask) ^ value where the mark was loaded before, else the value alone.
func written(where string, value, mask uint32, loaded bool) MarkUse {
	if loaded {
		mask = ^mask | value
	}
	return MarkUse{Where: where, Value: value, Mask: mask, Writes: true}
}

// fromIptables reads xt_mark_mtinfo1 and xt_mark_tginfo2, which begin alike.
func fromIptables(where, want, name string, info xt.InfoAny, writes bool) []MarkUse {
	raw, ok := info.(*xt.Unknown)
	if name != want || !ok || len(*raw) < 8 {
		return nil
	}
	return []MarkUse{{Where: where, Value: word(*raw), Mask: word((*raw)[4:]), Writes: writes}}
}

// word is a mark as the kernel has it: in the byte order of the machine.
func word(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}
