package netfilter

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// How our rules and routes are known from those of others.
const (
	routeProtocol = 0x6f       // who made them; no routing daemon has this number
	firstTable    = 0x6f770000 // of routing tables, one for each name
	tables        = 1 << 16
	priority      = 0x6f00 // of the rules that deliver, before main; those that prohibit follow
)

// routingTable is the number of the routing table that belongs to a name.
func routingTable(name string) int {
	h := fnv.New32a()
	h.Write([]byte(name))
	return firstTable + int(h.Sum32()%tables)
}

// families that rules and routes are made for, with the prefix of all addresses.
func families() map[int]netip.Prefix {
	return map[int]netip.Prefix{
		netlink.FAMILY_V4: netip.PrefixFrom(netip.IPv4Unspecified(), 0),
		netlink.FAMILY_V6: netip.PrefixFrom(netip.IPv6Unspecified(), 0),
	}
}

// route makes rules and routes those that the configuration asks for: first it
// adds, then it removes. A host without IPv6 has nothing to forward there.
func (t *Table) route() error {
	for family := range families() {
		err := t.routeFamily(family)
		if family == netlink.FAMILY_V6 && hasNoIPv6(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("policy routing for guests: %w", err)
		}
	}
	return nil
}

func hasNoIPv6(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EACCES) // the last: off by sysctl
}

func (t *Table) routeFamily(family int) error {
	have, err := t.rules(family, routingTable(t.want.Name))
	if err != nil {
		return err
	}
	want := wantedRules(&t.want, family)
	if len(want) > 0 {
		if err := t.deliverLocally(family); err != nil {
			return err
		}
	}
	for i := range want {
		if err := t.routes.RuleAdd(&want[i]); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("add rule: %w", err)
		}
	}
	have = slices.DeleteFunc(have, func(r netlink.Rule) bool { return contains(want, &r) })
	if _, err := t.removeRules(have); err != nil || len(want) > 0 {
		return err
	}
	_, err = t.removeRoutes(family, routingTable(t.want.Name))
	return err
}

// deliverLocally gives the table a route that makes every address one of ours.
func (t *Table) deliverLocally(family int) error {
	lo, err := t.routes.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback interface: %v", err)
	}
	return t.routes.RouteReplace(&netlink.Route{
		LinkIndex: lo.Attrs().Index, Family: family, Dst: ipNet(families()[family]), Table: routingTable(t.want.Name),
		Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST, Protocol: routeProtocol,
	})
}

// wantedRules are those of one family. What the table has handed to a listener
// carries the mark and is delivered here; all else that guests send to captured
// ports is prohibited, also when the table is gone.
func wantedRules(c *Config, family int) (out []netlink.Rule) {
	for _, g := range c.Guests.From {
		if g.Source.IsValid() && g.Source.Addr().Is4() != (family == netlink.FAMILY_V4) {
			continue
		}
		deliver := g.rule(c, family)
		deliver.Priority, deliver.Mark, deliver.Mask = priority, c.Mark, &c.Mark
		out = append(out, *deliver)
		if c.Guests.FailOpen {
			continue
		}
		for _, port := range c.Guests.Ports {
			fence := g.rule(c, family)
			fence.Priority, fence.Type = priority+1, unix.RTN_PROHIBIT
			fence.IPProto, fence.Dport = unix.IPPROTO_TCP, netlink.NewRulePortRange(port, port)
			out = append(out, *fence)
		}
	}
	return out
}

func (g *Guest) rule(c *Config, family int) *netlink.Rule {
	r := netlink.NewRule()
	r.Family, r.Table, r.Protocol, r.IifName = family, routingTable(c.Name), routeProtocol, g.Interface
	if g.Source.IsValid() {
		r.Src = ipNet(g.Source)
	}
	return r
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// rules are those of ours that are there.
func (t *Table) rules(family, table int) ([]netlink.Rule, error) {
	all, err := t.routes.RuleListFiltered(family, &netlink.Rule{Table: table}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, err
	}
	var ours []netlink.Rule
	for _, r := range all {
		if r.Protocol == routeProtocol {
			ours = append(ours, r)
		}
	}
	return ours, nil
}

// contains reports whether a rule of the kernel's is one of those wanted.
func contains(list []netlink.Rule, r *netlink.Rule) bool {
	key := keyOf(r)
	return slices.ContainsFunc(list, func(other netlink.Rule) bool { return keyOf(&other) == key })
}

// ruleKey is what tells our rules from one another. What they do is in the
// priority: the library does not read that back.
type ruleKey struct {
	priority    int
	mark, mask  uint32
	iif, source string
	protocol    int
	ports       netlink.RulePortRange
}

func keyOf(r *netlink.Rule) ruleKey {
	k := ruleKey{priority: r.Priority, mark: r.Mark, iif: r.IifName, protocol: r.IPProto}
	if r.Mask != nil {
		k.mask = *r.Mask
	}
	if r.Src != nil {
		k.source = r.Src.String()
	}
	if r.Dport != nil {
		k.ports = *r.Dport
	}
	return k
}
