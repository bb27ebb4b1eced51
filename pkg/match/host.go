package match

import (
	"fmt"
	"net/netip"
	"strings"
)

type hostKind uint8

const (
	hostNothing hostKind = iota // the zero Host
	hostExact
	hostSuffix
	hostPrefix
	hostAny
)

// Host is a pattern for host names and addresses. The zero Host matches
// nothing. It is comparable: equal patterns are ==.
type Host struct {
	kind   hostKind
	name   string // canonical; of *.x it is x
	prefix netip.Prefix
}

// ParseHost reads a host pattern of the package's grammar.
func ParseHost(s string) (Host, error) {
	if s == "*" {
		return Host{kind: hostAny}, nil
	}
	if base, ok := strings.CutPrefix(s, "*."); ok {
		return parseSuffix(s, base)
	}
	if strings.Contains(s, "*") {
		return Host{}, fmt.Errorf("host %q: * stands for whole labels at the front, as in *.example.com", s)
	}
	if strings.Contains(s, "/") {
		return parseNetwork(s)
	}
	name, err := CanonicalHost(s)
	if err != nil {
		return Host{}, err
	}
	return Host{kind: hostExact, name: name}, nil
}

func parseSuffix(s, base string) (Host, error) {
	name, err := CanonicalHost(base)
	if err != nil {
		return Host{}, err
	}
	if addressLike(name) {
		return Host{}, fmt.Errorf("host %q: an address has nothing below it", s)
	}
	return Host{kind: hostSuffix, name: name}, nil
}

func parseNetwork(s string) (Host, error) {
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return Host{}, fmt.Errorf("host %q is neither a name nor a network such as 192.0.2.0/24", s)
	}
	if prefix.Addr().Is4In6() {
		return Host{}, fmt.Errorf("host %q: write an IPv4 network as 192.0.2.0/24", s)
	}
	if prefix != prefix.Masked() {
		return Host{}, fmt.Errorf("host %q has bits beyond its length; the network is %s", s, prefix.Masked())
	}
	return Host{kind: hostPrefix, prefix: prefix}, nil
}

// Match reports whether the pattern matches a host in canonical form
// ([CanonicalHost]); "" is the unknown host.
func (h Host) Match(canonical string) bool {
	switch h.kind {
	case hostExact:
		return canonical == h.name
	case hostSuffix:
		below := len(canonical) - len(h.name) - 1
		return below > 0 && canonical[below] == '.' && canonical[below+1:] == h.name
	case hostPrefix:
		addr, ok := Address(canonical)
		return ok && h.prefix.Contains(addr)
	}
	return h.kind == hostAny
}

// Exact returns the one canonical name or address that the pattern matches.
func (h Host) Exact() (name string, ok bool) { return h.name, h.kind == hostExact }

// Suffix returns x of a pattern *.x.
func (h Host) Suffix() (name string, ok bool) { return h.name, h.kind == hostSuffix }

// Prefix returns the network of a pattern such as 192.0.2.0/24.
func (h Host) Prefix() (prefix netip.Prefix, ok bool) { return h.prefix, h.kind == hostPrefix }

// Any reports whether the pattern is *.
func (h Host) Any() bool { return h.kind == hostAny }

// Named reports whether the pattern matches names only: an exact name or *.x.
func (h Host) Named() bool {
	return h.kind == hostSuffix || h.kind == hostExact && !addressLike(h.name)
}

// Covers reports whether h matches everything that o matches.
func (h Host) Covers(o Host) bool {
	switch {
	case h == o, h.kind == hostAny, o.kind == hostNothing:
		return true
	case o.kind == hostExact:
		return h.Match(o.name)
	case o.kind == hostSuffix:
		return h.kind == hostSuffix && h.Match(o.name)
	case o.kind == hostPrefix && h.kind == hostPrefix:
		return h.prefix.Bits() <= o.prefix.Bits() && h.prefix.Contains(o.prefix.Addr())
	}
	return false
}

// String is the pattern in canonical spelling; "" for the zero Host.
func (h Host) String() string {
	switch h.kind {
	case hostExact:
		return h.name
	case hostSuffix:
		return "*." + h.name
	case hostPrefix:
		return h.prefix.String()
	case hostAny:
		return "*"
	}
	return ""
}

// MarshalText returns the pattern, so that encoders show it.
func (h Host) MarshalText() ([]byte, error) { return []byte(h.String()), nil }
