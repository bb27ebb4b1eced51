package netfilter

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Remove takes away all that Open made under a name in a network namespace (nil:
// the caller's), also what a process left half made, and returns what it
// removed, for printing. Where nothing is, nothing is removed and there is no
// error. It needs no daemon; one that runs puts all back.
func Remove(ns *os.File, name string) ([]string, error) {
	t, err := dial(ns)
	if err != nil {
		return nil, err
	}
	removed, err := t.remove(name)
	return removed, errors.Join(err, t.Close())
}

// Remove takes the table away, with all that belongs to it. Watch has ended.
func (t *Table) Remove() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.remove(t.want.Name)
	return err
}

// remove takes the table first, so that what prohibits is the last to go.
func (t *Table) remove(name string) (removed []string, err error) {
	switch _, err := t.find(name); {
	case errors.Is(err, errAbsent), hasNoNftables(err):
	case err != nil:
		return nil, fmt.Errorf("look for the nftables table: %v", err)
	default:
		t.nft.DelTable(&nftables.Table{Name: name, Family: nftables.TableFamilyINet})
		if err := t.nft.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("remove the nftables table: %v", err)
		}
		removed = append(removed, "nftables table inet "+name)
	}
	for family := range families() {
		gone, failed := t.removeRouting(family, routingTable(name))
		removed = append(removed, gone...)
		if !hasNoIPv6(failed) {
			err = errors.Join(err, failed)
		}
	}
	return removed, err
}

// hasNoNftables: without the module, or without the whole of netfilter's netlink.
func hasNoNftables(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT)
}

// removeRouting removes the rules before the route that they lead to.
func (t *Table) removeRouting(family, table int) (removed []string, err error) {
	rules, err := t.rules(family, table)
	if err != nil {
		return nil, err
	}
	removed, err = t.removeRules(rules)
	if err != nil {
		return removed, err
	}
	routes, err := t.removeRoutes(family, table)
	return append(removed, routes...), err
}

func (t *Table) removeRules(rules []netlink.Rule) (removed []string, err error) {
	for i := range rules {
		if err := t.routes.RuleDel(&rules[i]); err != nil && !errors.Is(err, os.ErrNotExist) {
			return removed, fmt.Errorf("remove rule: %w", err)
		}
		removed = append(removed, strings.TrimSpace(rules[i].String()))
	}
	return removed, nil
}

func (t *Table) removeRoutes(family, table int) (removed []string, err error) {
	routes, err := t.routesIn(family, table)
	if err != nil {
		return nil, err
	}
	for i := range routes {
		if err := t.routes.RouteDel(&routes[i]); err != nil && !errors.Is(err, unix.ESRCH) {
			return removed, fmt.Errorf("remove route: %w", err)
		}
		removed = append(removed, fmt.Sprintf("route to %s in table %d", routes[i].Dst, table))
	}
	return removed, nil
}
