package clienthello

const (
	maxName  = 253 // RFC 1035 section 2.3.4, as text
	maxLabel = 63
)

// validName reports whether b is a DNS host name as RFC 6066 section 3 wants
// it: labels of letters, digits and hyphens (and the underscore, which is in
// use), no dot at the end, no address. A last label of digits alone, or of hex
// after 0x, would be read as an IPv4 address by somebody.
func validName(b []byte) bool {
	if len(b) == 0 || len(b) > maxName {
		return false
	}
	label := 0
	for i, c := range b {
		if c != '.' {
			if !inName(c) {
				return false
			}
			continue
		}
		if !validLabel(b[label:i]) {
			return false
		}
		label = i + 1
	}
	return validLabel(b[label:]) && !numeric(b[label:])
}

func inName(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

func validLabel(b []byte) bool {
	return len(b) > 0 && len(b) <= maxLabel && b[0] != '-' && b[len(b)-1] != '-'
}

// numeric reports whether a last label makes the name an IPv4 address for
// readers that follow the WHATWG URL standard.
func numeric(b []byte) bool {
	hex := len(b) >= 2 && b[0] == '0' && b[1]|0x20 == 'x'
	if hex {
		b = b[2:]
	}
	for _, c := range b {
		digit := c >= '0' && c <= '9'
		if !digit && (!hex || c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return true
}
