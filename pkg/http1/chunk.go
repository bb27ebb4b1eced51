package http1

import "math"

const (
	maxChunkDigits = 16
	maxChunkExt    = 4 << 10 // bytes between the size and the CRLF
)

// state is where Body is in the grammar of RFC 9112 section 7.1.
type state uint8

const (
	stateDone state = iota
	stateFailed
	stateData // payload

	stateSizeFirst // the first digit of a chunk size
	stateSize
	stateSizeSpace // whitespace that only an extension may follow
	stateExtName   // behind ";", before the name
	stateExtNameIn
	stateExtNameSpace
	stateExtValue // behind "="
	stateExtValueIn
	stateExtValueSpace
	stateExtQuoted
	stateExtEscape
	stateExtQuotedEnd
	stateSizeLF
	stateDataCR
	stateDataLF

	stateTrailer // at the start of a line
	stateTrailerName
	stateTrailerValue
	stateTrailerLF
	stateEndLF
)

// step takes one byte that is not payload.
func (b *Body) step(c byte) *Error {
	switch {
	case b.state == stateFailed:
		return errChunkLine
	case b.state >= stateTrailer:
		return b.trailer(c)
	case b.state > stateSize && b.state < stateSizeLF:
		return b.extension(c)
	}
	switch b.state {
	case stateSizeFirst:
		b.left, b.digits, b.ext = 0, 0, 0
		b.state = stateSize
		if class[c]&isHex == 0 {
			return errChunkSize
		}
		return b.digit(c)
	case stateSize:
		return b.sizeByte(c)
	case stateSizeLF:
		return b.sizeEnd(c)
	case stateDataCR:
		return b.expect(c, '\r', stateDataLF, errChunkEnd)
	default: // stateDataLF
		return b.expect(c, '\n', stateSizeFirst, errChunkEnd)
	}
}

func (b *Body) expect(c, want byte, next state, otherwise *Error) *Error {
	if c != want {
		return otherwise
	}
	b.state = next
	return nil
}

func (b *Body) sizeByte(c byte) *Error {
	switch {
	case class[c]&isHex != 0:
		return b.digit(c)
	case c == '\r':
		b.state = stateSizeLF
	case c == ';':
		return b.extendTo(stateExtName)
	case isSpace(c):
		return b.extendTo(stateSizeSpace)
	case c == '\n':
		return errChunkLine
	default:
		return errChunkSize
	}
	return nil
}

// digit adds a hex digit to the chunk size.
func (b *Body) digit(c byte) *Error {
	if b.digits++; b.digits > maxChunkDigits || b.left > math.MaxInt64>>4 {
		return errChunkLarge
	}
	d := int64(c &^ '0')
	if c >= 'A' {
		d = int64(c|0x20) - 'a' + 10
	}
	b.left = b.left<<4 | d
	return nil
}

// sizeEnd wants the LF of a chunk line. A chunk of size 0 is the last one, and
// the trailers follow.
func (b *Body) sizeEnd(c byte) *Error {
	if c != '\n' {
		return errChunkLine
	}
	b.state = stateData
	if b.left == 0 {
		b.state = stateTrailer
	}
	return nil
}

// extendTo counts a byte of an extension and moves on.
func (b *Body) extendTo(next state) *Error {
	if b.ext++; b.ext > maxChunkExt {
		return errChunkExtLarge
	}
	b.state = next
	return nil
}

// extension takes one byte of *( BWS ";" BWS name [ BWS "=" BWS value ] ), where
// the value is a token or a quoted string. Whitespace at the end is outside
// the grammar.
func (b *Body) extension(c byte) *Error {
	var next state
	switch b.state {
	case stateExtQuoted:
		next = quoted(c)
	case stateExtEscape:
		next = escaped(c)
	case stateExtName, stateExtValue:
		next = elementStart(b.state, c)
	default:
		if c == '\r' && endsLine(b.state) {
			b.state = stateSizeLF
			return nil
		}
		next = between(b.state, c)
	}
	if next == stateFailed {
		return errChunkExt
	}
	return b.extendTo(next)
}

// elementStart is before a name or a value.
func elementStart(s state, c byte) state {
	switch {
	case isSpace(c):
		return s
	case class[c]&isToken != 0:
		return s + 1
	case c == '"' && s == stateExtValue:
		return stateExtQuoted
	}
	return stateFailed
}

// between is within or behind a name or a value.
func between(s state, c byte) state {
	named := s == stateExtNameIn || s == stateExtNameSpace
	within := s == stateExtNameIn || s == stateExtValueIn
	switch {
	case within && class[c]&isToken != 0:
		return s
	case c == ';':
		return stateExtName
	case c == '=' && named:
		return stateExtValue
	case isSpace(c) && named:
		return stateExtNameSpace
	case isSpace(c) && s == stateSizeSpace:
		return s
	case isSpace(c):
		return stateExtValueSpace
	}
	return stateFailed
}

// endsLine reports whether a CR may follow.
func endsLine(s state) bool {
	return s == stateExtNameIn || s == stateExtValueIn || s == stateExtQuotedEnd
}

func quoted(c byte) state {
	switch {
	case c == '"':
		return stateExtQuotedEnd
	case c == '\\':
		return stateExtEscape
	case class[c]&isQuoted != 0:
		return stateExtQuoted
	}
	return stateFailed
}

func escaped(c byte) state {
	if class[c]&isValue == 0 {
		return stateFailed
	}
	return stateExtQuoted
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }
