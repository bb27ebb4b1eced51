package authority

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/outwarden/outwarden/pkg/match"
)

// nobody stands for "no DNS name": RFC 2606 section 2 keeps .invalid free, and
// an empty list of permitted names would mean all of them.
const nobody = "invalid"

// constraints is what the root may speak for. The zero value is unconstrained.
type constraints struct {
	on    bool
	hosts []match.Host
	dns   []string       // permitted subtrees, sorted
	ips   []netip.Prefix // permitted addresses, sorted
}

// parseConstraints reads Options.Permitted; nil means unconstrained.
func parseConstraints(permitted []string) (constraints, error) {
	if permitted == nil {
		return constraints{}, nil
	}
	c := constraints{on: true}
	for _, s := range permitted {
		h, err := match.ParseHost(s)
		if err != nil {
			return constraints{}, fmt.Errorf("permitted name %q: %w", s, err)
		}
		if h.Any() {
			return constraints{}, nil
		}
		c.add(h)
	}
	if len(c.dns) == 0 {
		c.dns = []string{nobody}
	}
	slices.Sort(c.dns)
	c.dns = slices.Compact(c.dns)
	slices.SortFunc(c.ips, netip.Prefix.Compare)
	c.ips = slices.Compact(c.ips)
	return c, nil
}

// add takes one pattern in, by the kind of name it speaks of.
func (c *constraints) add(h match.Host) {
	c.hosts = append(c.hosts, h)
	if network, ok := h.Prefix(); ok {
		c.ips = append(c.ips, network)
		return
	}
	name, exact := h.Exact()
	if !exact {
		name, _ = h.Suffix()
	}
	if ip, ok := match.Address(name); ok {
		c.ips = append(c.ips, netip.PrefixFrom(ip, ip.BitLen()))
	} else {
		c.dns = append(c.dns, name)
	}
}

// allows reports whether a leaf may be minted for a canonical name.
func (c constraints) allows(name string) bool {
	return !c.on || slices.ContainsFunc(c.hosts, func(h match.Host) bool { return h.Match(name) })
}

// write puts the constraints into a root: names of each kind are permitted by
// list, and address families without a permitted address are excluded whole.
func (c constraints) write(t *x509.Certificate) {
	if !c.on {
		return
	}
	t.PermittedDNSDomainsCritical = true
	t.PermittedDNSDomains = c.dns
	t.PermittedIPRanges = networks(c.ips)
	t.ExcludedIPRanges = networks(c.excluded())
}

func (c constraints) excluded() []netip.Prefix {
	var out []netip.Prefix
	has := func(v4 bool) bool {
		return slices.ContainsFunc(c.ips, func(p netip.Prefix) bool { return p.Addr().Is4() == v4 })
	}
	if !has(true) {
		out = append(out, netip.PrefixFrom(netip.IPv4Unspecified(), 0))
	}
	if !has(false) {
		out = append(out, netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	}
	return out
}

// same reports whether a root has exactly these constraints.
func (c constraints) same(root *x509.Certificate) bool {
	want := &x509.Certificate{}
	c.write(want)
	return root.PermittedDNSDomainsCritical == want.PermittedDNSDomainsCritical &&
		slices.Equal(root.PermittedDNSDomains, want.PermittedDNSDomains) &&
		slices.EqualFunc(root.PermittedIPRanges, want.PermittedIPRanges, sameNet) &&
		slices.EqualFunc(root.ExcludedIPRanges, want.ExcludedIPRanges, sameNet)
}

func sameNet(a, b *net.IPNet) bool { return a.String() == b.String() }

func networks(prefixes []netip.Prefix) []*net.IPNet {
	var out []*net.IPNet
	for _, p := range prefixes {
		out = append(out, &net.IPNet{
			IP:   p.Addr().AsSlice(),
			Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
		})
	}
	return out
}
