package http1

import (
	"bytes"
	"math"
)

// Limits of a head. They bound memory and the work of one message.
const (
	// MaxHead is the size of the largest head, start line to empty line, in
	// bytes. A CRLF skipped before a request line counts.
	MaxHead = 64 << 10
	// MaxFields is the number of fields that a head, or a trailer section, may have.
	MaxFields = 256
)

// Again reports whether Parse can say more of b than it did of its first n bytes: another
// line has ended, or no head may be as large. That what has come meanwhile can't become a
// head is said at the latest when it is twice as much.
func Again(b []byte, n int) bool {
	return len(b) >= 2*n || len(b) >= MaxHead || bytes.IndexByte(b[n:], '\n') >= 0
}

// Field is one field line of a head.
type Field struct {
	Name  []byte // as written
	Value []byte // without the whitespace around it
	size  int    // of the whole line, CRLF included
}

// fields is what requests and responses have in common: the field lines and
// what the known ones among them say, noted while parsing.
type fields struct {
	list []Field
	seen seen

	host, length, encoding []byte
	upgrade, te            []byte
	patience               []byte // value of the last Keep-Alive
	options                int    // how many Connection options there were
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
		n, err := f.line(b[i:])
		if n == 0 || err != nil {
			return 0, err
		}
		i += n
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

// line reads the field line at the start of b and returns its length, 0 if b
// ends before.
func (f *fields) line(b []byte) (int, *Error) {
	colon := run(b, 0, isToken)
	if colon == len(b) {
		return 0, nil
	}
	if b[colon] != ':' || colon == 0 {
		return 0, nameError(b[colon], colon == 0)
	}
	end := valueEnd(b, colon+1)
	if end+1 >= len(b) || b[end] != '\r' || b[end+1] != '\n' {
		return 0, lineEndError(b, end)
	}
	if len(f.list) == MaxFields {
		return 0, ErrHeadTooLarge
	}
	name, value := b[:colon:colon], trim(b[colon+1:end:end])
	f.list = append(f.list, Field{})
	l := &f.list[len(f.list)-1] // filled in place: a Field is large
	l.Name, l.Value, l.size = name, value, end+2
	return end + 2, f.note(name, value)
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

// known holds the fields that note looks for, each at the length of its name, so
// that most others cost one comparison of lengths. It is never written.
var known = [...]string{
	len("te"):                "te",
	len("host"):              "host",
	len("expect"):            "expect",
	len("upgrade"):           "upgrade",
	len("connection"):        "connection", // and keep-alive
	len("content-length"):    "content-length",
	len("proxy-connection"):  "proxy-connection",
	len("transfer-encoding"): "transfer-encoding",
}

// note remembers what a known field says.
func (f *fields) note(name, value []byte) *Error {
	n := len(name)
	if n >= len(known) || !NameIs(name, known[n]) {
		if NameIs(name, "keep-alive") {
			f.seen |= seenHop
			f.patience = value
		}
		return nil
	}
	switch n {
	case len("te"):
		f.te = value
		if f.seen&seenTE != 0 {
			f.te = nil // a list over several lines is never plain "trailers"
		}
		f.seen |= seenTE
	case len("host"):
		return f.once(seenHost, &f.host, value, errTwoHosts)
	case len("expect"):
		return f.noteExpect(value)
	case len("upgrade"):
		return f.once(seenUpgrade, &f.upgrade, value, errTwoUpgrades)
	case len("connection"):
		return f.noteConnection(value)
	case len("content-length"):
		return f.once(seenLength, &f.length, value, errTwoLengths)
	case len("proxy-connection"):
		f.seen |= seenHop
	case len("transfer-encoding"):
		return f.once(seenEncoding, &f.encoding, value, errTwoEncodings)
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
