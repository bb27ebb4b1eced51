package netfilter

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// picture is what the kernel shows of a table of ours. Rules never change: a
// replaced one has another handle.
type picture struct {
	flags  uint32 // a dormant table is there and does nothing
	uses   uint32 // chains and more
	chains []*nftables.Chain
	rules  []placed
	routed bool // the policy rules and the route are there
}

type placed struct {
	chain  string
	handle uint64
	exprs  []expr.Any
}

func (p *picture) equal(other *picture) bool { return reflect.DeepEqual(p, other) }

// errAbsent: there is no such table.
var errAbsent = errors.New("the table is not there")

// look takes the picture. t.mu is held.
func (t *Table) look() (picture, error) {
	var p picture
	table, err := t.find(t.want.Name)
	if err != nil {
		return p, err
	}
	p.flags, p.uses = table.Flags, table.Use
	for _, c := range chains(&t.want) {
		if err := t.lookAt(&p, table, c.name); err != nil {
			return p, err
		}
	}
	p.routed, err = t.routed()
	return p, err
}

// find asks for a table of ours.
func (t *Table) find(name string) (*nftables.Table, error) {
	table, err := t.nft.ListTableOfFamily(name, nftables.TableFamilyINet)
	if errors.Is(err, unix.ENOENT) {
		return nil, errAbsent
	}
	return table, err
}

func (t *Table) lookAt(p *picture, table *nftables.Table, name string) error {
	c, err := t.nft.ListChain(table, name)
	if err != nil {
		return fmt.Errorf("chain %s: %w", name, err)
	}
	rules, err := t.nft.GetRules(table, c)
	if err != nil {
		return fmt.Errorf("rules of %s: %w", name, err)
	}
	p.chains = append(p.chains, c)
	for _, r := range rules {
		p.rules = append(p.rules, placed{name, r.Handle, r.Exprs})
	}
	return nil
}

// routed reports whether the policy rules and the routes are there.
func (t *Table) routed() (bool, error) {
	for family := range families() {
		want := wantedRules(&t.want, family)
		if len(want) == 0 {
			continue
		}
		ok, err := t.routedFamily(family, want)
		if err != nil && family == netlink.FAMILY_V6 && hasNoIPv6(err) {
			continue
		}
		if err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

func (t *Table) routedFamily(family int, want []netlink.Rule) (bool, error) {
	table := routingTable(t.want.Name)
	have, err := t.rules(family, table)
	if err != nil {
		return false, err
	}
	for i := range want {
		if !contains(have, &want[i]) {
			return false, nil
		}
	}
	routes, err := t.routesIn(family, table)
	return len(routes) == 1, err
}

// routesIn are those of ours in a routing table.
func (t *Table) routesIn(family, table int) ([]netlink.Route, error) {
	only := &netlink.Route{Table: table, Protocol: routeProtocol}
	return t.routes.RouteListFiltered(family, only, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
}
