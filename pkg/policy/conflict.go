package policy

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/outwarden/outwarden/pkg/match"
)

// Conflict is a route that no request reaches.
type Conflict struct {
	Route, By    int // indices of the shadowed route and of the one before it
	Name, ByName string
}

// String is one sentence for a person.
func (c Conflict) String() string {
	return fmt.Sprintf("route %q is never reached: route %q before it matches all that it does", c.Name, c.ByName)
}

// Conflicts returns the routes that are shadowed by a single earlier one, in
// order. What it finds is certain; a route hidden by several earlier ones
// together, or by patterns that overlap in a roundabout way, is not found.
func (p *Policy) Conflicts() []Conflict {
	var conflicts []Conflict
	for i := range p.routes {
		if by := p.shadow(i); by != none {
			conflicts = append(conflicts, Conflict{i, by, p.routes[i].Name, p.routes[by].Name})
		}
	}
	return conflicts
}

// shadow returns the first route that covers route i, or none. A route that
// covers it covers its first host, and so stands in that host's list.
func (p *Policy) shadow(i int) int {
	route := &p.routes[i]
	for _, list := range [][]int32{p.named(route.To.Hosts), p.rest} {
		for _, earlier := range list {
			if int(earlier) < i && p.routes[earlier].covers(&route.Route) {
				return int(earlier)
			}
		}
	}
	return none
}

func (p *Policy) named(hosts []match.Host) []int32 {
	if len(hosts) == 0 {
		return nil
	}
	if name, ok := hosts[0].Exact(); ok {
		return p.exact[name]
	}
	name, _ := hosts[0].Suffix()
	return p.suffix[name]
}

// covers reports whether r surely matches all that o matches.
func (r *Route) covers(o *Route) bool {
	return coverLists(r.From.Exe, o.From.Exe, match.Glob.Covers) &&
		coverLists(r.From.ExeSHA256, o.From.ExeSHA256, equal) &&
		coverLists(r.From.Users, o.From.Users, equal) &&
		coverLists(r.From.Units, o.From.Units, match.Glob.Covers) &&
		coverLists(r.From.Cgroups, o.From.Cgroups, match.Glob.Covers) &&
		coverLists(r.From.Guests, o.From.Guests, coversPrefix) &&
		(r.To.everywhere() || coverLists(r.To.Hosts, o.To.Hosts, match.Host.Covers) && !o.deniesBeneath(r)) &&
		coverLists(r.To.Ports, o.To.Ports, equal) &&
		coverLists(r.To.Methods, o.To.Methods, equalFold) &&
		coverLists(r.To.Paths, o.To.Paths, match.Path.Covers)
}

// deniesBeneath reports whether r may deny by its address what says a name, and is no
// matter of another route that covers its hosts.
func (r *Route) deniesBeneath(other *Route) bool {
	return r.Action == Deny && other.Action != Deny &&
		slices.ContainsFunc(r.To.Hosts, func(h match.Host) bool { return !h.Named() && !h.Any() })
}

// coverLists reports whether each choice of inner is covered by one of outer; an
// empty list stands for everything.
func coverLists[T any](outer, inner []T, covers func(T, T) bool) bool {
	if len(outer) == 0 {
		return true
	}
	for _, in := range inner {
		found := false
		for _, out := range outer {
			found = found || covers(out, in)
		}
		if !found {
			return false
		}
	}
	return len(inner) > 0
}

func coversPrefix(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

func equal[T comparable](a, b T) bool { return a == b }
