package http1

// target reads the request target at b[i:], up to the space behind it, and
// sets Path, Query and Absolute. It returns the index of that space, 0 if
// bytes are missing. The four forms are in RFC 9112 section 3.2.
func (r *Request) target(b []byte, i int) (int, *Error) {
	r.Path, r.Query, r.Absolute = nil, nil, false
	if i == len(b) {
		return 0, nil
	}
	if b[i] == '/' {
		return r.originForm(b, i)
	}
	end := i
	for end < len(b) && b[end] > ' ' && b[end] < 0x7f {
		end++
	}
	if end == len(b) {
		return 0, nil
	}
	if b[end] != ' ' || end == i {
		return 0, errTarget
	}
	return end, r.otherForm(b[i:end:end])
}

// originForm reads absolute-path [ "?" query ].
func (r *Request) originForm(b []byte, i int) (int, *Error) {
	end, question, bad := pathAndQuery(b, i)
	if bad != nil || end == len(b) {
		return 0, bad
	}
	if b[end] != ' ' {
		return 0, errTarget
	}
	r.split(b[i:end:end], question-i)
	return end, nil
}

// pathAndQuery scans b[i:] for the first byte that is in neither, and notes the
// first question mark, -1 if there is none. An escape that b cuts short ends
// the scan at len(b).
//
// RFC 3986 section 3.4 has no brackets, braces and the like in a query, but the URL
// standard of the browsers leaves them there as they are, so what runs on Node sends
// them (ids[]=1), as do the SDKs of large APIs (created[gte]=1). They separate
// nothing for any reader of a query. In a path they stay refused.
func pathAndQuery[T string | []byte](b T, i int) (end, question int, bad *Error) {
	question = -1
	for ; i < len(b); i++ {
		switch c := b[i]; {
		case class[c]&isTarget != 0:
		case c == '?':
			if question < 0 {
				question = i
			}
		case question >= 0 && class[c]&isQuery != 0:
		case c == '%':
			for k := 1; k <= 2; k++ {
				if i+k == len(b) {
					return len(b), question, nil
				}
				if class[b[i+k]]&isHex == 0 {
					return 0, 0, errPercent
				}
			}
			i += 2
		default:
			return i, question, nil
		}
	}
	return i, question, nil
}

// split cuts the target at the index of the question mark, if that is not
// negative.
func (r *Request) split(t []byte, question int) {
	if question < 0 {
		r.Path = t
		return
	}
	r.Path, r.Query = t[:question:question], t[question+1:]
}

// otherForm takes a whole target that does not begin with a slash.
func (r *Request) otherForm(t []byte) *Error {
	switch {
	case string(r.Method) == "CONNECT":
		if !validAuthority(t) || len(hostPart(t))+1 >= len(t) {
			return errConnect
		}
		return nil
	case len(t) == 1 && t[0] == '*':
		if string(r.Method) != "OPTIONS" {
			return errAsterisk
		}
		r.Path = t
		return nil
	}
	return r.absoluteForm(t)
}

// absoluteForm takes scheme "://" authority path-abempty [ "?" query ].
func (r *Request) absoluteForm(t []byte) *Error {
	authority := authorityStart(t)
	if authority == 0 {
		return errScheme
	}
	path := authority
	for path < len(t) && t[path] != '/' && t[path] != '?' {
		if t[path] == '@' {
			return errUserinfo
		}
		path++
	}
	end, question, bad := pathAndQuery(t, path)
	if bad != nil {
		return bad
	}
	if end != len(t) || cutEscape(t) || !validAuthority(t[authority:path]) {
		return errTarget
	}
	r.Absolute = true
	r.split(t[path:], question-path)
	if len(r.Path) == 0 {
		// An empty path is "/" (RFC 9110 section 4.2.3): take the slash before
		// the authority, so that Path aliases the buffer here too.
		r.Path = t[authority-1 : authority : authority]
	}
	return nil
}

// authorityStart returns the index behind "http://" or "https://", 0 if t
// begins with neither. A scheme is case-insensitive.
func authorityStart(t []byte) int {
	for _, scheme := range [...]string{"http://", "https://"} {
		if len(t) > len(scheme) && NameIs(t[:len(scheme)], scheme) {
			return len(scheme)
		}
	}
	return 0
}

// cutEscape reports whether t, which is not empty, ends within a
// percent-encoding.
func cutEscape[T string | []byte](t T) bool {
	n := len(t)
	return t[n-1] == '%' || n > 1 && t[n-2] == '%'
}

// checkHost wants one Host that names one host, and the same one as the target
// if that has an authority (RFC 9112 section 3.2). HTTP/1.0 needs it too:
// without it nothing says where the request belongs.
func (r *Request) checkHost() *Error {
	switch {
	case r.f.seen&seenHost == 0:
		return errNoHost
	case !validAuthority(r.Host):
		return errHost
	}
	authority := r.Target
	if r.Absolute {
		authority = authorityOf(r.Target)
	} else if string(r.Method) != "CONNECT" {
		return nil
	}
	if equalFold(authority, r.Host) {
		return nil
	}
	if !r.Absolute && equalFold(hostPart(authority), r.Host) {
		return nil // CONNECT host:port with Host: host
	}
	return errHostMismatch
}

// authorityOf cuts the authority out of a valid absolute-form.
func authorityOf(t []byte) []byte {
	start := authorityStart(t)
	end := start
	for end < len(t) && t[end] != '/' && t[end] != '?' {
		end++
	}
	return t[start:end]
}

// CheckTarget reports, as an *Error, what is wrong with the target of a request
// that came over HTTP/2 (:path, RFC 9113 section 8.3.1): the same grammar, but no
// absolute-form. For CONNECT it takes the authority. It allocates nothing for
// targets that begin with a slash.
func CheckTarget(target, method string) error {
	switch {
	case method == "CONNECT":
		t := []byte(target)
		if !validAuthority(t) || len(hostPart(t))+1 >= len(t) {
			return errConnect
		}
	case target == "*" && method == "OPTIONS":
	case target == "" || target[0] != '/':
		return errTarget
	default:
		end, _, bad := pathAndQuery(target, 0)
		if bad != nil {
			return bad
		}
		if end != len(target) || cutEscape(target) {
			return errTarget
		}
	}
	return nil
}
