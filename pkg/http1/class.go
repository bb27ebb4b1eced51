package http1

import (
	"encoding/binary"
	"math/bits"
)

// Byte classes. One table serves every rule, so that a byte is looked up once.
const (
	isToken  uint8 = 1 << iota // tchar, RFC 9110 section 5.6.2
	isTarget                   // pchar and "/" (RFC 3986 section 3.3), but not "%"
	isQuery                    // what a query may hold besides: see pathAndQuery
	isLabel                    // letters, digits, "-" and "_": what the labels of a host name are made of
	isHex                      // HEXDIG of either case
	isValue                    // field-content: HTAB, SP, VCHAR, obs-text
	isQuoted                   // qdtext, RFC 9110 section 5.6.4
)

// class is never written after it was made.
var class = classes()

func classes() (t [256]uint8) {
	for c := range t {
		b := byte(c)
		alnum := b|0x20 >= 'a' && b|0x20 <= 'z' || b >= '0' && b <= '9'
		if alnum {
			t[c] |= isToken | isTarget | isLabel
		}
		if b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'f' {
			t[c] |= isHex
		}
		if b == '\t' || b >= 0x20 && b != 0x7f {
			t[c] |= isValue
			if b != '"' && b != '\\' {
				t[c] |= isQuoted
			}
		}
	}
	mark(&t, isToken, "!#$%&'*+-.^_`|~")
	mark(&t, isTarget, "-._~!$&'()*+,;=:@/")
	mark(&t, isQuery, "[]{}|\\^`\"<>")
	mark(&t, isLabel, "-_")
	return t
}

func mark(t *[256]uint8, bit uint8, chars string) {
	for i := range len(chars) {
		t[chars[i]] |= bit
	}
}

// lower folds an ASCII letter; other bytes stay.
func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// NameIs reports whether a field name equals lower, which must be in lower
// case. Field names are case-insensitive (RFC 9110 section 5.1).
func NameIs(name []byte, lowerName string) bool {
	return len(name) == len(lowerName) && foldsTo(name, lowerName)
}

// foldsTo is the part of NameIs that looks at the bytes, apart from it so that
// names of another length cost no call.
func foldsTo(name []byte, lowerName string) bool {
	for i, c := range name {
		if c != lowerName[i] && lower(c) != lowerName[i] {
			return false
		}
	}
	return true
}

// equalFold compares two ASCII strings without regard to case.
func equalFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// run returns the index of the first byte at or after i that is not of the
// class, or len(b).
func run(b []byte, i int, bit uint8) int {
	for k, c := range b[i:] {
		if class[c]&bit == 0 {
			return i + k
		}
	}
	return len(b)
}

// valueEnd returns the index of the first byte at or after i that a field
// value may not hold, or len(b). It looks at eight bytes at a time: values are
// most of a head.
func valueEnd(b []byte, i int) int {
	const ones = 0x0101010101010101
	const highs = 0x80 * ones
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i : i+8])
		del := x ^ 0x7f*ones
		hit := ((x-0x20*ones)&^x | (del-ones)&^del) & highs
		if hit == 0 {
			i += 8
			continue
		}
		// The lowest hit is exact; a borrow can only spoil those above it.
		i += bits.TrailingZeros64(hit) / 8
		if b[i] != '\t' {
			return i
		}
		i++
	}
	return run(b, i, isValue)
}

// trim cuts optional whitespace, SP and HTAB, from both ends.
func trim(b []byte) []byte {
	i, n := 0, len(b)
	for i < n && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	for i < n && (b[n-1] == ' ' || b[n-1] == '\t') {
		n--
	}
	return b[i:n]
}
