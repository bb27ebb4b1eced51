package http1

// BodyKind is how the content of a message is framed (RFC 9112 section 6.3).
type BodyKind uint8

const (
	// BodyNone: no content, and none announced.
	BodyNone BodyKind = iota
	// BodyLength: as many bytes as Content-Length says, perhaps none.
	BodyLength
	// BodyChunked: chunks, then perhaps trailers.
	BodyChunked
	// BodyUntilClose: until the connection ends; responses only.
	BodyUntilClose
)

// Request is the head of one request. Its slices alias the buffer that Parse
// read. The zero value is ready; it can be parsed into again and again, and
// then allocates nothing.
type Request struct {
	Method []byte
	Target []byte // as written
	// Path is the target's path as written, without the query; "/" for an
	// absolute target without one, "*" for the asterisk form, empty for CONNECT.
	Path []byte
	// Query is what follows the first "?"; nil if there is none.
	Query []byte
	Host  []byte // value of Host: one host and perhaps a port, as written
	Minor int    // 0 for HTTP/1.0, 1 for HTTP/1.1

	Fields []Field

	Body   BodyKind // BodyNone, BodyLength or BodyChunked
	Length int64    // for BodyLength

	KeepAlive bool   // the workload wants to send another request
	Expect100 bool   // it waits for 100 (Continue) before it sends the content
	Upgrade   []byte // value of Upgrade, if Connection names it; nil otherwise
	Absolute  bool   // the target is in absolute-form

	// Head is the whole head, request line to empty line, without the CRLF
	// that may have come before.
	Head []byte

	f fields
}

// Parse reads the head at the start of b and returns how many bytes it takes,
// a skipped CRLF before it included. It returns 0, nil if b ends before the
// head does, and an *Error if b is not, or can no longer become, an acceptable
// request. On both the fields of r mean nothing.
func (r *Request) Parse(b []byte) (n int, err error) {
	r.f.reset()
	r.Fields = nil
	full := len(b) >= MaxHead
	if full {
		b = b[:MaxHead]
	}
	n, bad := r.parse(b)
	if bad != nil {
		return 0, bad
	}
	if n == 0 && full {
		return 0, ErrHeadTooLarge
	}
	return n, nil
}

func (r *Request) parse(b []byte) (int, *Error) {
	start := 0
	if len(b) > 1 && b[0] == '\r' && b[1] == '\n' {
		start = 2
	} else if len(b) == 1 && b[0] == '\r' {
		return 0, nil
	}
	i, bad := r.requestLine(b, start)
	if i == 0 || bad != nil {
		return 0, bad
	}
	n, bad := r.f.parse(b, i)
	if n == 0 || bad != nil {
		return 0, bad
	}
	r.Head, r.Fields = b[start:n:n], r.f.list
	return n, r.finish()
}

// requestLine reads method SP target SP version CRLF (RFC 9112 section 3) and
// returns the index of the line after it, 0 if bytes are missing.
func (r *Request) requestLine(b []byte, i int) (int, *Error) {
	sp := run(b, i, isToken)
	if sp == len(b) {
		return 0, nil
	}
	if b[sp] != ' ' || sp == i {
		return 0, methodError(b[sp])
	}
	r.Method = b[i:sp:sp]
	i = sp + 1
	end, bad := r.target(b, i)
	if end == 0 || bad != nil {
		return 0, bad
	}
	r.Target = b[i:end:end]
	minor, next, bad := version(b, end+1)
	if next == 0 || bad != nil {
		return 0, bad
	}
	r.Minor = minor
	return crlf(b, next)
}

func methodError(c byte) *Error {
	if c == '\n' {
		return errBareLF
	}
	return errMethod
}

// version reads "HTTP/1.0" or "HTTP/1.1" at b[i:] and returns the minor and the
// index behind it, 0 if bytes are missing.
func version(b []byte, i int) (minor, next int, bad *Error) {
	const want, usual = "HTTP/d.d", "HTTP/1.1"
	if next = i + len(usual); next <= len(b) && string(b[i:next]) == usual {
		return 1, next, nil
	}
	for k := range len(want) {
		if i+k == len(b) {
			return 0, 0, nil
		}
		c := b[i+k]
		if digit := c >= '0' && c <= '9'; want[k] == 'd' && !digit || want[k] != 'd' && c != want[k] {
			return 0, 0, errVersion
		}
	}
	major, minor := b[i+5], int(b[i+7]-'0')
	if major != '1' || minor > 1 {
		return 0, 0, errUnsupported
	}
	return minor, i + len(want), nil
}

// crlf wants a line end at b[i:].
func crlf(b []byte, i int) (int, *Error) {
	switch {
	case i == len(b):
		return 0, nil
	case b[i] == '\n':
		return 0, errBareLF
	case b[i] != '\r':
		return 0, errVersion
	case i+1 == len(b):
		return 0, nil
	case b[i+1] != '\n':
		return 0, errBareCR
	}
	return i + 2, nil
}

// finish draws the conclusions that need the whole head.
func (r *Request) finish() (bad *Error) {
	r.Host = r.f.host
	if bad = r.checkHost(); bad != nil {
		return bad
	}
	if r.Body, r.Length, bad = r.f.framing(r.Minor); bad != nil {
		return bad
	}
	content := r.Body == BodyChunked || r.Length > 0
	if content && NameIs(r.Method, "connect") {
		return errConnectBody
	}
	r.KeepAlive = r.f.keepAlive(r.Minor)
	r.Expect100 = content && r.Minor == 1 && r.f.seen&seenExpect != 0
	r.Upgrade = r.f.upgraded(r.Minor)
	return nil
}

// upgraded is the value of Upgrade if it counts (RFC 9110 section 7.8): named
// by Connection, and not in HTTP/1.0.
func (f *fields) upgraded(minor int) []byte {
	if minor == 0 || f.seen&optUpgrade == 0 {
		return nil
	}
	return f.upgrade
}

// Value returns the value of the first field with that name, which is given in
// lower case; nil if there is none.
func (r *Request) Value(lowerName string) []byte { return value(r.Fields, lowerName) }

// Hop drops in e what belongs to the connection with the workload and must not
// reach the upstream (RFC 9110 section 7.6.1): fields that Connection names,
// Keep-Alive, Proxy-Connection, an Upgrade that Connection does not name, a TE
// other than "trailers", and Connection lines that say any of this, or
// "close". A Connection line with nothing but keep-alive, the Upgrade that is
// asked for, and TE stays as it is; if a dropped line held one of these that
// is needed, e gets a new line with it. A head without such fields is not
// looked at again. A caller that does not want the upgrade sets r.Upgrade to nil
// before.
func (r *Request) Hop(e *Edit) {
	hop{upgrade: r.Upgrade != nil, te: NameIs(r.f.te, "trailers")}.apply(&r.f, e)
}

// Blank reports whether b, what is left when the workload closes its side
// between requests, is nothing at all: the one empty line that is skipped
// before a request, or a part of it.
func Blank(b []byte) bool {
	return len(b) == 0 || string(b) == "\r\n" || string(b) == "\r"
}
