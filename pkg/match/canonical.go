package match

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Reasons why a host has no canonical form.
var (
	ErrHostEmpty   = errors.New("host is empty")
	ErrHostSyntax  = errors.New("host is neither a name of letters, digits, hyphens and underscores nor an address")
	ErrHostLength  = errors.New("host is longer than DNS allows")
	ErrHostNumeric = errors.New("host ends in a number but is not an address in the usual form")
	ErrPort        = errors.New("port is not a number from 0 to 65535")
)

const (
	maxName  = 253 // RFC 1035 section 2.3.4, as text without the root's dot
	maxLabel = 63
)

// CanonicalHost returns the one spelling under which a host is compared: names
// in lower case without the root's dot, addresses as net/netip prints them
// (IPv4-mapped ones as IPv4) and without brackets. Names are labels of letters,
// digits, hyphens and underscores (RFC 5890 LDH and the underscore of practice);
// an internationalised name must come in its xn-- form. A port, a zone or
// userinfo is an error.
//
// It allocates only where s is not canonical already.
func CanonicalHost(s string) (string, error) {
	switch {
	case plainName(s):
		return s, nil
	case s == "":
		return "", ErrHostEmpty
	case s[0] == '[':
		inner, ok := strings.CutSuffix(s[1:], "]")
		if !ok || !strings.Contains(inner, ":") {
			return "", fmt.Errorf("%q: %w", s, ErrHostSyntax)
		}
		return canonicalAddr(inner)
	case strings.Contains(s, ":"):
		return canonicalAddr(s)
	}
	return canonicalName(s)
}

// plainName reports whether s is a name in canonical form, in one look at it. Its
// last label begins with a letter, so that it is no number. Most hosts are such
// names; the others are looked at closely.
func plainName(s string) bool {
	start := 0
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_':
		case c == '-' && i > start:
		case c == '.' && plainLabel(s[start:i]):
			start = i + 1
		default:
			return false
		}
	}
	return len(s) <= maxName && plainLabel(s[start:]) && 'a' <= s[start] && s[start] <= 'z'
}

// plainLabel looks at what plainName leaves open: the length, and the end.
func plainLabel(label string) bool {
	return label != "" && len(label) <= maxLabel && label[len(label)-1] != '-'
}

func canonicalAddr(s string) (string, error) {
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		return "", fmt.Errorf("%q: %w", s, ErrHostSyntax)
	}
	var buf [64]byte
	canonical := addr.Unmap().AppendTo(buf[:0])
	if string(canonical) == s {
		return s, nil
	}
	return string(canonical), nil
}

func canonicalName(s string) (string, error) {
	name := strings.TrimSuffix(s, ".")
	if len(name) > maxName {
		return "", ErrHostLength
	}
	upper, last := false, 0
	for start := 0; ; {
		end := strings.IndexByte(name[start:], '.')
		label := name[start:]
		if end >= 0 {
			label = label[:end]
		}
		hasUpper, err := checkLabel(label)
		if err != nil {
			return "", fmt.Errorf("%q: %w", s, err)
		}
		upper = upper || hasUpper
		if last = start; end < 0 {
			break
		}
		start += end + 1
	}
	switch {
	case numeric(name[last:]) && len(s) != len(name):
		return "", fmt.Errorf("%q: %w", s, ErrHostNumeric)
	case numeric(name[last:]):
		return canonicalIPv4(name)
	case upper:
		return strings.ToLower(name), nil
	}
	return name, nil
}

func canonicalIPv4(s string) (string, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Is4() {
		return s, nil // netip knows one spelling only
	}
	return "", fmt.Errorf("%q: %w", s, ErrHostNumeric)
}

func checkLabel(label string) (upper bool, err error) {
	if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
		return false, ErrHostSyntax
	}
	if len(label) > maxLabel {
		return false, ErrHostLength
	}
	for i := range len(label) {
		switch c := label[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		case 'A' <= c && c <= 'Z':
			upper = true
		default:
			return false, ErrHostSyntax
		}
	}
	return upper, nil
}

// numeric reports whether a label would make inet_aton take the name for an
// address: digits, or 0x and hex digits.
func numeric(label string) bool {
	if len(label) >= 2 && label[0] == '0' && label[1]|0x20 == 'x' {
		return all(label[2:], isHex)
	}
	return all(label, isDigit)
}

func all(s string, is func(byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// addressLike reports whether a canonical host is an address: a canonical name
// never has a colon and never ends in a numeric label.
func addressLike(canonical string) bool {
	if strings.Contains(canonical, ":") {
		return true
	}
	last := strings.LastIndexByte(canonical, '.') + 1
	return last > 0 && last < len(canonical) && numeric(canonical[last:])
}

// Address returns the address that a canonical host is, without allocating; ok
// is false for a name.
func Address(canonical string) (addr netip.Addr, ok bool) {
	if !addressLike(canonical) {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(canonical)
	return addr, err == nil
}

// SplitAuthority splits the value of Host or :authority (RFC 9110 section 7.2):
// "h", "h:443", "[v6]:443". The host comes back canonical. An empty port, as in
// "h:", is none (RFC 3986 section 3.2.3). An IPv6 address needs its brackets.
// It does not allocate where the host is canonical already.
func SplitAuthority(s string) (host string, port uint16, hasPort bool, err error) {
	if plainName(s) {
		return s, 0, false, nil
	}
	name, digits := s, ""
	if end := strings.LastIndexByte(s, ':'); end > strings.LastIndexByte(s, ']') {
		name, digits = s[:end], s[end+1:]
	}
	if strings.Contains(name, ":") && name[0] != '[' {
		return "", 0, false, fmt.Errorf("%q: %w", s, ErrHostSyntax)
	}
	if host, err = CanonicalHost(name); err != nil || digits == "" {
		return host, 0, false, err
	}
	if port, err = parsePort(digits); err != nil {
		return "", 0, false, fmt.Errorf("%q: %w", s, err)
	}
	return host, port, true, nil
}

func parsePort(digits string) (uint16, error) {
	const most = 5
	if len(digits) > most {
		return 0, ErrPort
	}
	n := 0
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return 0, ErrPort
		}
		n = n*10 + int(digits[i]-'0')
	}
	if n > 1<<16-1 {
		return 0, ErrPort
	}
	return uint16(n), nil
}
