package audit

import (
	"encoding/binary"
	"strconv"
	"unicode/utf8"
)

// maxText is how much of one text field a record keeps. What follows is
// replaced by its length, so that a workload cannot fill the disk by one request.
const maxText = 8 << 10

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string (RFC 8259 section 7). Everything that a
// terminal might act on, or that a reader might see as a line end, is escaped.
func appendString(b []byte, s string) []byte {
	cut := 0
	if len(s) > maxText {
		end := maxText
		for end > maxText-utf8.UTFMax && !utf8.RuneStart(s[end]) {
			end--
		}
		s, cut = s[:end], len(s)-end
	}
	b = append(b, '"')
	b = appendEscaped(b, s)
	if cut > 0 {
		b = append(b, "…[+"...)
		b = strconv.AppendInt(b, int64(cut), 10)
		b = append(b, " bytes]"...)
	}
	return append(b, '"')
}

func appendEscaped(b []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		if plain[s[i]] {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if size > 1 && printable(r) {
			i += size
			continue
		}
		b = append(b, s[start:i]...)
		b = appendRune(b, r)
		i += size
		start = i
	}
	return append(b, s[start:]...)
}

// plain says which bytes stand for themselves in a JSON string.
var plain = func() (t [256]bool) {
	for c := byte(' '); c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// printable reports whether a rune beyond ASCII is safe on a terminal: no C1
// control, no line or paragraph separator, nothing that changes the direction of
// text or is invisible.
func printable(r rune) bool {
	switch {
	case r < 0xa0, // C1 controls; ASCII does not come here
		r == 0xad, r == 0x61c, r == 0xfeff,
		r >= 0x200b && r <= 0x200f,
		r >= 0x2028 && r <= 0x202e,
		r >= 0x2060 && r <= 0x206f,
		r >= 0xfff9 && r <= 0xfffb,
		r >= 0xe0000 && r <= 0xe0fff:
		return false
	}
	return true
}

// appendRune appends a rune that may not stand for itself. utf8.RuneError, which
// is what invalid UTF-8 decodes to, is written as an escape too.
func appendRune(b []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(b, '\\', byte(r))
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	if r > 0xffff { // a surrogate pair
		r -= 0x10000
		b = appendUnit(b, 0xd800+uint16(r>>10))
		return appendUnit(b, 0xdc00+uint16(r&0x3ff))
	}
	return appendUnit(b, uint16(r))
}

func appendUnit(b []byte, u uint16) []byte {
	return append(b, '\\', 'u', hexDigits[u>>12], hexDigits[u>>8&15], hexDigits[u>>4&15], hexDigits[u&15])
}

// appendJSON appends JSON that another encoder made. Outside strings JSON has no
// byte that needs an escape, so escaping DEL and everything beyond ASCII that is
// not printable keeps its meaning. Line ends between tokens become spaces.
func appendJSON(b, json []byte) []byte {
	if harmless(json) {
		return append(b, json...)
	}
	for i := 0; i < len(json); {
		c := json[i]
		switch {
		case c < ' ':
			b = append(b, ' ')
			i++
		case c < 0x7f:
			b = append(b, c)
			i++
		default:
			r, size := utf8.DecodeRune(json[i:])
			if size > 1 && printable(r) {
				b = append(b, json[i:i+size]...)
			} else {
				b = appendRune(b, r)
			}
			i += size
		}
	}
	return b
}

// harmless reports whether b is ASCII without control bytes, eight at a time.
func harmless(b []byte) bool {
	for len(b) >= 8 {
		if !harmlessWord(binary.LittleEndian.Uint64(b)) {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// harmlessWord tests eight bytes: none has the high bit, none is below a space
// (the subtraction borrows) and none is DEL (the addition carries).
func harmlessWord(w uint64) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	if w&high != 0 {
		return false
	}
	return ((w|high)-ones*' ')&high == high && (w+ones)&high == 0
}

// Printable is s for a terminal: control characters, invalid UTF-8 and invisible
// or direction-changing characters appear as \u escapes, a backslash as itself.
func Printable(s string) string {
	for i := 0; i < len(s); i++ {
		if !plain[s[i]] && s[i] != '"' && s[i] != '\\' {
			return escapeForTerminal(s)
		}
	}
	return s
}

func escapeForTerminal(s string) string {
	b := make([]byte, 0, len(s)+16)
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r >= ' ' && r < 0x7f, size > 1 && printable(r):
			b = append(b, s[i:i+size]...)
		default:
			b = appendRune(b, r)
		}
		i += size
	}
	return string(b)
}
