package sigv4

import "strings"

// isAuth reports whether a query name belongs to a presigned URL's signature.
// Case is ignored: a spelling that AWS ignores must not pass as somebody else's.
func isAuth(name string) bool {
	switch strings.ToLower(name) {
	case "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signedheaders", "x-amz-expires",
		"x-amz-security-token", "x-amz-signature":
		return true
	}
	return false
}

// bareTarget is r's target, without its presigned signature if it has one.
func bareTarget(r *Request) string {
	query := r.query()
	for piece := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(piece, "=")
		if !isAuth(decode(name)) {
			continue
		}
		if kept := withoutAuth(query); kept != "" {
			return r.path() + "?" + kept
		}
		return r.path()
	}
	return r.Target
}

// withoutAuth is query without the pieces of a signature; all else stays as it is.
func withoutAuth(query string) string {
	var kept []string
	for piece := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(piece, "=")
		if piece != "" && !isAuth(decode(name)) {
			kept = append(kept, piece)
		}
	}
	return strings.Join(kept, "&")
}

// joinQuery appends more to query, encoded.
func joinQuery(query string, more []pair) string {
	b := []byte(query)
	for _, p := range more {
		if len(b) > 0 {
			b = append(b, '&')
		}
		b = appendEncoded(append(append(b, p.name...), '='), p.value, false)
	}
	return string(b)
}

// decode is s percent-decoded, with "+" as a space.
func decode(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			c = unhex(s[i+1])<<4 | unhex(s[i+2])
			i += 2
		case c == '+':
			c = ' '
		}
		b = append(b, c)
	}
	return string(b)
}
