package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/outwarden/outwarden/pkg/match"
)

// Policy is a compiled list of routes. The zero Policy has none and passes all
// through.
type Policy struct {
	routes []indexed
	def    Action

	exact  map[string][]int32 // host -> routes that name it, itself or by *.x above it
	suffix map[string][]int32 // x -> routes that name *.x or a *.y above it
	rest   []int32            // routes that name no host, *, or a network, and those that deny an address
}

// indexed is a route with what New has worked out about it.
type indexed struct {
	Route
	everywhere bool           // matches every host
	prefixes   []netip.Prefix // networks and addresses among its hosts
}

// New compiles routes, in order. Where none matches, def decides. The slice and
// what it refers to must not be changed afterwards.
func New(routes []Route, def Action) *Policy {
	p := &Policy{
		routes: make([]indexed, len(routes)),
		def:    def,
		exact:  map[string][]int32{},
		suffix: map[string][]int32{},
	}
	for i, route := range routes {
		p.routes[i] = indexed{Route: route, everywhere: route.To.everywhere()}
		p.enter(int32(i), route.To.Hosts)
	}
	p.inherit()
	return p
}

func (p *Policy) enter(i int32, hosts []match.Host) {
	if p.routes[i].everywhere {
		p.rest = append(p.rest, i)
		return
	}
	for _, host := range hosts {
		if name, ok := host.Exact(); ok {
			p.exact[name] = appendOnce(p.exact[name], i)
			if a, ok := match.Address(name); ok {
				p.enterAddress(i, a)
			}
		} else if name, ok := host.Suffix(); ok {
			p.suffix[name] = appendOnce(p.suffix[name], i)
		} else if prefix, ok := host.Prefix(); ok {
			p.routes[i].prefixes = append(p.routes[i].prefixes, prefix)
			p.rest = appendOnce(p.rest, i)
		}
	}
}

// enterAddress makes a route that denies an address one to look at whatever name is
// said.
func (p *Policy) enterAddress(i int32, a netip.Addr) {
	p.routes[i].prefixes = append(p.routes[i].prefixes, netip.PrefixFrom(a, a.BitLen()))
	if p.routes[i].Action == Deny {
		p.rest = appendOnce(p.rest, i)
	}
}

func appendOnce(list []int32, i int32) []int32 {
	if n := len(list); n > 0 && list[n-1] == i {
		return list
	}
	return append(list, i)
}

// inherit gives each name the routes of the suffixes above it, so that one look
// finds all. Shorter suffixes come first: theirs are complete when they are
// handed down.
func (p *Policy) inherit() {
	names := make([]string, 0, len(p.suffix))
	for name := range p.suffix {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(len(a), len(b)) })
	for _, name := range names {
		p.suffix[name] = merge(p.suffix[name], p.above(name))
	}
	for name := range p.exact {
		p.exact[name] = merge(p.exact[name], p.above(name))
	}
}

// above returns the routes of the longest suffix that the name lies below.
func (p *Policy) above(name string) []int32 {
	for {
		_, parent, ok := strings.Cut(name, ".")
		if !ok {
			return nil
		}
		if list, ok := p.suffix[parent]; ok {
			return list
		}
		name = parent
	}
}

func merge(a, b []int32) []int32 {
	if len(b) == 0 {
		return a
	}
	merged := slices.Concat(a, b)
	slices.Sort(merged)
	return slices.Compact(merged)
}

// candidates walks the routes that match a host, in order, each once, and those that
// deny the address beneath it.
type candidates struct {
	routes      []indexed
	named, rest []int32
	addr        netip.Addr // the host, where it is an address
	to          netip.Addr // where the connection goes
}

func (p *Policy) candidates(r *Request) candidates {
	named, ok := p.exact[r.Host]
	if !ok {
		named = p.above(r.Host)
	}
	addr, _ := match.Address(r.Host)
	return candidates{p.routes, named, p.rest, addr, r.Addr.Unmap()}
}

// next returns the index of the next route, or -1. A route that stands in both
// lists was found by name, so its networks need not match.
func (c *candidates) next() int {
	for len(c.rest) > 0 && (len(c.named) == 0 || c.rest[0] < c.named[0]) {
		i := int(c.rest[0])
		c.rest = c.rest[1:]
		if c.routes[i].holds(c.addr) || c.routes[i].Action == Deny && c.routes[i].holds(c.to) {
			return i
		}
	}
	if len(c.named) == 0 {
		return -1
	}
	i := c.named[0]
	c.named = c.named[1:]
	if len(c.rest) > 0 && c.rest[0] == i {
		c.rest = c.rest[1:]
	}
	return int(i)
}

// holds reports whether a route of the rest is for the address; the zero one
// stands for a name.
func (r *indexed) holds(addr netip.Addr) bool {
	if r.everywhere {
		return true
	}
	for _, prefix := range r.prefixes {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}
