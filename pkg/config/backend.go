package config

import (
	"cmp"
	"math/bits"
	"net/netip"
	"strings"

	"github.com/outwarden/outwarden/pkg/policy"
)

const maxInterface = 15 // bytes of a name

func (b *builder) backend(doc *captureSection) {
	c := &b.config.Capture
	c.Backend = Backend(cmp.Or(b.oneOf(doc.Backend, string(Rewrite), string(NFT), string(TProxy)), string(Rewrite)))
	b.redirectMark(doc)
	for i := range doc.Guests {
		if g, ok := b.guest(&doc.Guests[i]); ok {
			c.Guests = append(c.Guests, g)
		}
	}
	switch {
	case c.Backend == TProxy && len(doc.Guests) == 0:
		b.fail(doc.Backend.at, "add guests: [{interface: virbr0}]", "backend tproxy needs guests")
	case c.Backend != TProxy && len(doc.Guests) > 0:
		b.fail(doc.Guests[0].At, "use backend: tproxy", "backend %s has no guests", c.Backend)
	}
	for i := range b.config.Routes {
		if r := &b.config.Routes[i]; len(r.From.Guests) > 0 && c.Backend != TProxy {
			b.warn(r.Position, "route %q is for guests, which only backend tproxy captures", r.Name)
		}
	}
}

// redirectMark is one bit, so that the others of a mark stay with their owners,
// and not one of ours.
func (b *builder) redirectMark(doc *captureSection) {
	m := doc.RedirectMark
	switch {
	case !m.sound:
	case m.value > maxMark || bits.OnesCount64(m.value) != 1:
		b.fail(m.at, "as in 0x80", "redirect_mark is not one bit of 32")
	case m.value&doc.Mark.value != 0:
		b.fail(m.at, "", "redirect_mark and mark have a bit in common")
	default:
		b.config.Capture.RedirectMark = uint32(m.value)
	}
}

func (b *builder) guest(doc *guestDoc) (g Guest, ok bool) {
	if doc.CIDR.absent() && doc.Interface.absent() {
		b.fail(doc.At, "as in {cidr: 10.0.0.0/24, interface: virbr0}", "needs cidr, interface or both")
		return g, false
	}
	if t := doc.Interface; t.ok() {
		if len(t.value) > maxInterface || strings.ContainsAny(t.value, "/ *+:") {
			b.fail(t.at, "as ip link shows it", "%q is not the name of an interface", t.value)
			return g, false
		}
		g.Interface = t.value
	}
	if doc.CIDR.ok() {
		g.Source, ok = parsed(b, doc.CIDR, parsePrefix, "as in 10.0.0.0/24 or 2001:db8::/64")
		return g, ok
	}
	return g, doc.Interface.ok()
}

// parsePrefix takes a network, or an address for itself alone.
func parsePrefix(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

// guests are the addresses that a route is for in place of processes.
func (b *builder) guests(doc *fromDoc) []netip.Prefix {
	var guests []netip.Prefix
	for _, t := range doc.Guest {
		if p, ok := parsed(b, t, parsePrefix, "as in 10.0.0.0/24"); ok {
			guests = append(guests, p)
		}
	}
	return guests
}

// checkGuests holds what a route for guests cannot have. A guest is no process,
// so no other condition can hold for it; and a credential goes to whom the kernel
// saw call, and nobody saw a guest.
func (b *builder) checkGuests(doc *routeDoc, r *Route) {
	if len(r.From.Guests) == 0 {
		return
	}
	at := doc.From.Guest[0].at
	if !r.From.AnyProcess() {
		b.fail(at, "make it two routes", "guest and the conditions for processes cannot hold together")
	}
	if r.Credentialed() || r.Upstream.EgressIP.IsValid() && r.Action == policy.Intercept {
		b.fail(at, "a guest is known by its address alone, which others can take", "a route for guests cannot carry a credential")
	}
}
