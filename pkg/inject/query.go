package inject

import "strings"

const (
	unreserved = "-._~" // and letters and digits: RFC 3986 section 2.3
	upperHex   = "0123456789ABCDEF"
)

// escape percent-encodes everything but unreserved characters.
func escape(dst []byte, s []byte) []byte {
	for _, c := range s {
		alnum := '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
		if alnum || strings.IndexByte(unreserved, c) >= 0 {
			dst = append(dst, c)
			continue
		}
		dst = append(dst, '%', upperHex[c>>4], upperHex[c&0xf])
	}
	return dst
}

// stripQuery appends target to dst without the parameters named in names, and
// leaves every other byte as it is. '&' and ';' both separate: some servers read
// the second as the first.
func stripQuery(dst []byte, target string, names []string) []byte {
	mark := strings.IndexByte(target, '?')
	if mark < 0 {
		return append(dst, target...)
	}
	return stripPairs(append(dst, target[:mark+1]...), target[mark+1:], names)
}

// stripPairs does so to what stands behind the question mark.
func stripPairs(dst []byte, target string, names []string) []byte {
	for first, at := true, 0; ; {
		end := at
		for end < len(target) && target[end] != '&' && target[end] != ';' {
			end++
		}
		if !parameterOf(target[at:end], names) {
			if !first {
				dst = append(dst, target[at-1])
			}
			dst = append(dst, target[at:end]...)
			first = false
		}
		if end == len(target) {
			return dst
		}
		at = end + 1
	}
}

// appendQuery adds a ready "name=value" to a target.
func appendQuery(target, parameter []byte) []byte {
	separator := byte('?')
	for i, c := range target {
		if c != '?' {
			continue
		}
		if separator = '&'; i == len(target)-1 {
			return append(target, parameter...)
		}
		break
	}
	return append(append(target, separator), parameter...)
}

func parameterOf(parameter string, names []string) bool {
	name := parameter
	if end := strings.IndexByte(parameter, '='); end >= 0 {
		name = parameter[:end]
	}
	for _, n := range names {
		if decodesTo(name, n) {
			return true
		}
	}
	return false
}

// decodesTo reports whether an encoded query name reads as name: percent-decoded
// once, with '+' for a space. A '%' without two hex digits stands for itself.
func decodesTo(encoded, name string) bool {
	at := 0
	for i := 0; i < len(encoded); i++ {
		if at == len(name) {
			return false
		}
		c := encoded[i]
		if c == '+' {
			c = ' '
		} else if c == '%' && i+2 < len(encoded) && isHex(encoded[i+1]) && isHex(encoded[i+2]) {
			c = unhex(encoded[i+1])<<4 | unhex(encoded[i+2])
			i += 2
		}
		if c != name[at] {
			return false
		}
		at++
	}
	return at == len(name)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
