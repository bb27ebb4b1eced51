package http1

import "math"

// Limits of a head. They bound memory and the work of one message.
const (
	// MaxHead is the size of the largest head, start line to empty line, in
	// bytes. A CRLF skipped before a request line counts.
	MaxHead = 64 << 10
	// MaxFields is the number of fields that a head, or a trailer section, may have.
	MaxFields = 256
)

// Field is one field line of a head.
type Field struct {
	Name  []byte // as written
	Value []byte // without the whitespace around it
	Line  []byte // the whole line, CRLF included
}

// fields is what requests and responses have in common: the field lines and
// what the known ones among them say, noted while parsing.
type fields struct {
	list []Field
	seen seen

	host, length, encoding []byte
	upgrade, te            []byte
	options                int // how many Connection options there were
}

// seen has one bit for each thing noted about a head.
type seen uint16

const (
	seenHost seen = 1 << iota
	seenLength
	seenEncoding
	seenUpgrade
	seenExpect
	seenTE
	seenConnection
	seenHop // Keep-Alive or Proxy-Connection
	optClose
	optKeepAlive
	optUpgrade
	optTE
	optOther // Connection names another field
)

func (f *fields) reset() {
	list := f.list
	if list == nil {
		list = make([]Field, 0, 32)
	}
	*f = fields{list: list[:0]}
}

// parse reads field lines from b[i:] up to and with the empty line. It returns
// the index behind it, or 0 if b ends before.
func (f *fields) parse(b []byte, i int) (int, *Error) {
	for i < len(b) {
		if b[i] == '\r' {
			return emptyLine(b, i)
		}
		next, err := f.line(b, i)
		if next == 0 || err != nil {
			return 0, err
		}
		i = next
	}
	return 0, nil
}

// emptyLine ends the head at b[i], a CR.
func emptyLine(b []byte, i int) (int, *Error) {
	if i+1 == len(b) {
		return 0, nil
	}
	if b[i+1] != '\n' {
		return 0, errBareCR
	}
	return i + 2, nil
}

// line reads the field line at b[i:] and returns the index of the next one.
func (f *fields) line(b []byte, i int) (int, *Error) {
	colon := run(b, i, isToken)
	if colon == len(b) {
		return 0, nil
	}
	if b[colon] != ':' || colon == i {
		return 0, nameError(b[colon], colon == i)
	}
	end := valueEnd(b, colon+1)
	if end+1 >= len(b) {
		return 0, lineEndError(b, end)
	}
	if b[end] != '\r' || b[end+1] != '\n' {
		return 0, lineEndError(b, end)
	}
	if len(f.list) == MaxFields {
		return 0, ErrHeadTooLarge
	}
	f.list = append(f.list, Field{
		Name:  b[i:colon:colon],
		Value: trim(b[colon+1 : end : end]),
		Line:  b[i : end+2 : end+2],
	})
	return end + 2, f.note(&f.list[len(f.list)-1])
}

// nameError says what is wrong with a byte that is neither of a field name nor
// the colon after one.
func nameError(c byte, first bool) *Error {
	switch {
	case c == '\n':
		return errBareLF
	case c == ' ' || c == '\t':
		if first {
			return errFold
		}
		return errColonSpace
	}
	return errName
}

// lineEndError says what is wrong with the line end at b[i:], nil if only
// bytes are missing.
func lineEndError(b []byte, i int) *Error {
	switch {
	case i == len(b):
		return nil
	case b[i] == '\n':
		return errBareLF
	case b[i] != '\r':
		return errValue
	case i+1 == len(b) || b[i+1] == '\n':
		return nil
	}
	return errBareCR
}

// note remembers what a known field says. The length of the name decides which
// one it can be, so that most fields cost one comparison of lengths.
func (f *fields) note(l *Field) *Error {
	switch len(l.Name) {
	case len("te"):
		if NameIs(l.Name, "te") {
			f.te = l.Value
			if f.seen&seenTE != 0 {
				f.te = nil // a list over several lines is never plain "trailers"
			}
			f.seen |= seenTE
		}
	case len("host"):
		if NameIs(l.Name, "host") {
			return f.once(seenHost, &f.host, l.Value, errTwoHosts)
		}
	case len("expect"):
		if NameIs(l.Name, "expect") {
			return f.noteExpect(l.Value)
		}
	case len("upgrade"):
		if NameIs(l.Name, "upgrade") {
			return f.once(seenUpgrade, &f.upgrade, l.Value, errTwoUpgrades)
		}
	case len("connection"): // and len("keep-alive")
		if NameIs(l.Name, "connection") {
			return f.noteConnection(l.Value)
		}
		if NameIs(l.Name, "keep-alive") {
			f.seen |= seenHop
		}
	case len("content-length"):
		if NameIs(l.Name, "content-length") {
			return f.once(seenLength, &f.length, l.Value, errTwoLengths)
		}
	case len("proxy-connection"):
		if NameIs(l.Name, "proxy-connection") {
			f.seen |= seenHop
		}
	case len("transfer-encoding"):
		if NameIs(l.Name, "transfer-encoding") {
			return f.once(seenEncoding, &f.encoding, l.Value, errTwoEncodings)
		}
	}
	return nil
}

// once stores the value of a field that may come only once.
func (f *fields) once(bit seen, dst *[]byte, value []byte, twice *Error) *Error {
	if f.seen&bit != 0 {
		return twice
	}
	f.seen |= bit
	*dst = value
	return nil
}

func (f *fields) noteExpect(value []byte) *Error {
	if f.seen&seenExpect != 0 || !NameIs(value, "100-continue") {
		return errExpect
	}
	f.seen |= seenExpect
	return nil
}

// framing reads Content-Length and Transfer-Encoding (RFC 9112 section 6).
// Without either it returns BodyNone.
func (f *fields) framing(minor int) (BodyKind, int64, *Error) {
	switch f.seen & (seenLength | seenEncoding) {
	case 0:
		return BodyNone, 0, nil
	case seenLength:
		n, ok := parseLength(f.length)
		if !ok {
			return BodyNone, 0, errLength
		}
		return BodyLength, n, nil
	case seenLength | seenEncoding:
		return BodyNone, 0, errBothFramings
	}
	if minor == 0 {
		return BodyNone, 0, errEncodingHTTP10
	}
	if NameIs(f.encoding, "chunked") {
		return BodyChunked, 0, nil
	}
	if len(f.encoding) > 0 && run(f.encoding, 0, isToken) == len(f.encoding) {
		return BodyNone, 0, errUnknownCoding
	}
	return BodyNone, 0, errEncoding
}

// parseLength reads 1*DIGIT without leading zeros that fits an int64.
func parseLength(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 1 && b[0] == '0' {
		return 0, false
	}
	var n int64
	for _, c := range b {
		d := int64(c) - '0'
		if d < 0 || d > 9 || n > (math.MaxInt64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// keepAlive says whether the connection outlives the message
// (RFC 9112 section 9.3).
func (f *fields) keepAlive(minor int) bool {
	if f.seen&optClose != 0 {
		return false
	}
	return minor == 1 || f.seen&optKeepAlive != 0
}

// value returns the value of the first field of that name, nil if there is
// none, and a non-nil slice otherwise.
func value(list []Field, lowerName string) []byte {
	for i := range list {
		if NameIs(list[i].Name, lowerName) {
			return list[i].Value
		}
	}
	return nil
}
