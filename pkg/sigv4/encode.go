package sigv4

const upperHex = "0123456789ABCDEF"

// appendEncoded appends s with every byte but the unreserved ones (RFC 3986
// section 2.3) as %XX; keepSlash leaves "/" too.
func appendEncoded(b []byte, s string, keepSlash bool) []byte {
	for i := range len(s) {
		b = appendByte(b, s[i], keepSlash)
	}
	return b
}

// appendRecoded appends s decoded once and encoded anew, so that each way to
// write a byte has one result. A "%" that begins no triplet stands for itself.
// plus tells that "+" is a space.
func appendRecoded(b []byte, s string, keepSlash, plus bool) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			c = unhex(s[i+1])<<4 | unhex(s[i+2])
			i += 2
		case c == '+' && plus:
			c = ' '
		}
		b = appendByte(b, c, keepSlash)
	}
	return b
}

func appendByte(b []byte, c byte, keepSlash bool) []byte {
	if unreserved(c) || c == '/' && keepSlash {
		return append(b, c)
	}
	return append(b, '%', upperHex[c>>4], upperHex[c&15])
}

func unreserved(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '-' || c == '.' || c == '_' || c == '~'
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// unhex is the value of a hex digit.
func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

// lowerHex64 reports whether s is a SHA-256 sum in its one spelling.
func lowerHex64[S string | []byte](s S) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isHex(c) || c >= 'A' && c <= 'F' {
			return false
		}
	}
	return true
}
