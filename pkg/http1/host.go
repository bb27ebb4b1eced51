package http1

// validAuthority reports whether b is host [":" port] and names one host: an
// IPv6 address in brackets, or labels of letters, digits, "-" and "_" with
// single dots between them and perhaps one behind (an IPv4 address is that
// too). The port may be empty (RFC 3986 section 3.2.3), else it is 0 to 65535.
func validAuthority(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	end := 0
	if b[0] == '[' {
		for end < len(b) && b[end] != ']' {
			end++
		}
		if end == len(b) || !validIPv6(b[1:end]) {
			return false
		}
		end++
	} else if end = nameEnd(b); end == 0 || end > 254 { // no more than DNS can carry
		return false
	}
	return end == len(b) || b[end] == ':' && validPort(b[end+1:])
}

// nameEnd returns the index behind the name at the start of b, 0 if there is
// none or one of its labels is empty.
func nameEnd(b []byte) int {
	for i, c := range b {
		switch {
		case class[c]&isLabel != 0:
		case c != '.':
			return i
		case i == 0 || b[i-1] == '.':
			return 0
		}
	}
	return len(b)
}

func validPort(b []byte) bool {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
		if n = n*10 + int(c-'0'); n > 65535 {
			return false
		}
	}
	return true
}

// validIPv6 is IPv6address of RFC 3986 section 3.2.2, without a zone.
func validIPv6(b []byte) bool {
	groups, elided := 0, false
	for i := 0; i < len(b); {
		switch {
		case b[i] == ':' && i+1 < len(b) && b[i+1] == ':' && !elided:
			elided = true
			i += 2
			continue
		case b[i] == ':' && groups > 0 && i+1 < len(b) && b[i-1] != ':':
			i++
		case i > 0 && b[i-1] != ':':
			return false
		}
		end := run(b, i, isHex)
		if end < len(b) && b[end] == '.' {
			return validIPv4(b[i:]) && full(groups+2, elided)
		}
		if end == i || end-i > 4 {
			return false
		}
		groups, i = groups+1, end
	}
	return full(groups, elided)
}

// full reports whether so many groups of 16 bits make an address.
func full(groups int, elided bool) bool {
	if elided {
		return groups < 8
	}
	return groups == 8
}

// validIPv4 is four decimal octets without leading zeros.
func validIPv4(b []byte) bool {
	octets := 0
	for len(b) > 0 {
		n, i := 0, 0
		for i < len(b) && b[i] >= '0' && b[i] <= '9' && i < 3 {
			n = n*10 + int(b[i]-'0')
			i++
		}
		if i == 0 || i > 1 && b[0] == '0' || n > 255 {
			return false
		}
		if octets++; i == len(b) {
			return octets == 4
		}
		if b[i] != '.' {
			return false
		}
		b = b[i+1:]
	}
	return false
}

// hostPart cuts the port off a valid authority.
func hostPart(b []byte) []byte {
	for i := len(b) - 1; i >= 0; i-- {
		switch c := b[i]; {
		case c == ':':
			return b[:i]
		case c < '0' || c > '9':
			return b
		}
	}
	return b
}
