package http1

// Response is the head of one response, interim responses (1xx) included. Its
// slices alias the buffer that Parse read. The zero value is ready; it can be
// parsed into again and again, and then allocates nothing.
type Response struct {
	Status int // 100 to 999
	Minor  int // 0 for HTTP/1.0, 1 for HTTP/1.1

	Fields []Field

	Body   BodyKind // BodyNone also for HEAD, 1xx, 204, 304 and the 2xx of CONNECT
	Length int64    // for BodyLength

	KeepAlive bool   // the connection can carry another exchange, once the body was read
	Rest      int    // seconds that the upstream keeps it for one, by its Keep-Alive; -1: it does not say
	Upgrade   []byte // value of Upgrade, if Connection names it; nil otherwise

	Head []byte // the whole head, status line to empty line

	f fields
}

// Parse reads the head at the start of b and returns how many bytes it takes.
// method is that of the request that it answers: the answer to HEAD has no
// content. It returns 0, nil if b ends before the head does, and an *Error
// with Status 502 if the response cannot be accepted.
func (r *Response) Parse(b, method []byte) (n int, err error) {
	r.f.reset()
	r.Fields = nil
	full := len(b) >= MaxHead
	if full {
		b = b[:MaxHead]
	}
	n, bad := r.parse(b, method)
	if bad != nil {
		return 0, upstreamError(bad)
	}
	if n == 0 && full {
		return 0, errUpstreamHead
	}
	return n, nil
}

func (r *Response) parse(b, method []byte) (int, *Error) {
	i, bad := r.statusLine(b)
	if i == 0 || bad != nil {
		return 0, bad
	}
	n, bad := r.f.parse(b, i)
	if n == 0 || bad != nil {
		return 0, bad
	}
	r.Head, r.Fields = b[:n:n], r.f.list
	return n, r.finish(method)
}

// statusLine reads version SP 3DIGIT SP [reason] CRLF (RFC 9112 section 4).
func (r *Response) statusLine(b []byte) (int, *Error) {
	minor, i, bad := version(b, 0)
	if i == 0 || bad != nil {
		return 0, errOr(bad, errStatusLine)
	}
	const want = " ddd "
	status := 0
	for k := range len(want) {
		if i+k == len(b) {
			return 0, nil
		}
		c := b[i+k]
		if digit := c >= '0' && c <= '9'; want[k] == 'd' && !digit || want[k] == ' ' && c != ' ' {
			return 0, errStatusLine
		}
		if want[k] == 'd' {
			status = status*10 + int(c-'0')
		}
	}
	if status < 100 {
		return 0, errStatusLine
	}
	r.Status, r.Minor = status, minor
	end := valueEnd(b, i+len(want))
	if end+1 < len(b) && b[end] == '\r' && b[end+1] == '\n' {
		return end + 2, nil
	}
	return 0, lineEndError(b, end)
}

// errOr returns other in place of bad, if there is a bad.
func errOr(bad, other *Error) *Error {
	if bad == nil {
		return nil
	}
	return other
}

func (r *Response) finish(method []byte) (bad *Error) {
	if r.Body, r.Length, bad = r.f.framing(r.Minor); bad != nil {
		return bad
	}
	framed := r.Body == BodyChunked || r.Length > 0
	switch {
	case r.Status < 200, r.Status == 204, r.Status < 300 && string(method) == "CONNECT":
		// RFC 9110 section 8.6 and RFC 9112 section 6.1 forbid the fields
		// here; one reader would wait for content and another would not.
		if framed {
			return errNoContent
		}
		r.Body, r.Length = BodyNone, 0
	case string(method) == "HEAD", r.Status == 304:
		r.Body, r.Length = BodyNone, 0
	case r.Body == BodyNone:
		r.Body = BodyUntilClose
	}
	r.KeepAlive = r.f.keepAlive(r.Minor) && r.Body != BodyUntilClose
	r.Upgrade = r.f.upgraded(r.Minor)
	r.Rest = r.f.rest()
	return nil
}

// Value returns the value of the first field with that name, which is given in
// lower case; nil if there is none.
func (r *Response) Value(lowerName string) []byte { return value(r.Fields, lowerName) }

// Hop drops in e what belongs to the connection with the upstream and must not
// reach the workload, as Request.Hop does in the other direction. Upgrade stays
// where it says what the connection becomes (101) or has to become (426), and
// "close" where the end of the connection ends the body.
func (r *Response) Hop(e *Edit) {
	upgrade := r.Upgrade != nil && (r.Status == 101 || r.Status == 426)
	hop{upgrade: upgrade, close: r.Body == BodyUntilClose}.apply(&r.f, e)
}

// upstreamError gives an error that requests and responses share the status
// that a response deserves, without allocating.
func upstreamError(bad *Error) *Error {
	if bad.Status == 502 {
		return bad
	}
	switch bad {
	case ErrHeadTooLarge:
		return errUpstreamHead
	case errTwoLengths, errLength, errTwoEncodings, errEncoding, errUnknownCoding, errBothFramings, errEncodingHTTP10:
		return errUpstreamFrame
	case errConnection, errConnectionOf, errManyOptions, errTwoUpgrades:
		return errUpstreamOption
	}
	return errUpstreamField
}
