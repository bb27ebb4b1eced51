package match

import (
	"errors"
	"fmt"
	"strings"
)

// ErrPathAmbiguous is returned for a path pattern that no unambiguous path could
// match.
var ErrPathAmbiguous = errors.New("path can be read in two ways, so requests for it are refused and the pattern never matches")

// Path is a pattern for the path of a request, without the query. The zero Path
// matches nothing.
type Path struct {
	glob    Glob
	raw     byteSet // reserved bytes that the pattern has as they are
	encoded byteSet // bytes that the pattern has percent-encoded
}

// ParsePath reads a path pattern of the package's grammar. It begins with a
// slash; percent-encoding is in upper case (RFC 3986 section 2.1).
func ParsePath(s string) (Path, error) {
	if !strings.HasPrefix(s, "/") {
		return Path{}, fmt.Errorf("path %q does not begin with a slash", s)
	}
	if strings.Contains(s, "?") {
		return Path{}, fmt.Errorf("path %q has a query; paths are matched without it", s)
	}
	if AmbiguousPath(s) {
		return Path{}, fmt.Errorf("path %q: %w", s, ErrPathAmbiguous)
	}
	glob, err := ParseGlob(s)
	if err != nil {
		return Path{}, err
	}
	p := Path{glob: glob}
	return p, p.noteSpelling()
}

// noteSpelling remembers how the pattern spells the bytes that have a second
// spelling.
func (p *Path) noteSpelling() error {
	s := p.glob.pattern
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if s[i:i+3] != strings.ToUpper(s[i:i+3]) {
				return fmt.Errorf("path %q: write percent-encoding in upper case", s)
			}
			c = escaped(s, i)
			p.encoded.add(c)
			i += 2
		} else if !unreserved(c) && c != '/' && c != '*' {
			p.raw.add(c)
		}
	}
	if p.raw.meets(p.encoded) {
		return fmt.Errorf("path %q spells one byte in two ways", s)
	}
	return nil
}

// Match reports whether the whole path matches, byte for byte. Ask
// [Path.Ambiguous] first: a path with two spellings can slip past a pattern.
func (p Path) Match(path string) bool { return p.glob.Match(path) }

// Covers reports whether p surely matches everything that o matches.
func (p Path) Covers(o Path) bool { return p.glob.Covers(o.glob) }

// String is the pattern as it was written.
func (p Path) String() string { return p.glob.pattern }

// Ambiguous reports whether the path must not be decided by this pattern: it is
// ambiguous in itself ([AmbiguousPath]), or it spells a byte that the pattern
// names in the other way, %3A for a colon or the reverse.
func (p Path) Ambiguous(path string) bool {
	return AmbiguousPath(path) || p.respelled(path)
}

func (p Path) respelled(path string) bool {
	if p.raw.empty() && p.encoded.empty() {
		return false
	}
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c != '%' {
			if p.encoded.has(c) {
				return true
			}
			continue
		}
		c = escaped(path, i)
		lower := path[i+1] >= 'a' || path[i+2] >= 'a'
		if p.raw.has(c) || lower && p.encoded.has(c) {
			return true
		}
		i += 2
	}
	return false
}

// AmbiguousPath reports whether servers read the path in more than one way. It
// does not allocate. Such are:
//
//   - a path that does not begin with a slash, as * and the empty one;
//   - the segments . and .., also with parameters as in ..;x, and empty ones;
//   - a percent-encoded slash, backslash, semicolon, control byte, or a letter,
//     digit, dot, hyphen, underscore or tilde, which have a plain spelling
//     (RFC 3986 section 2.3);
//   - percent-encoding that is malformed, doubled (%252e) or an overlong UTF-8
//     form;
//   - raw backslashes, semicolons, fragments, blanks, control bytes and bytes
//     from 0x80 up.
func AmbiguousPath(path string) bool {
	if path == "" || path[0] != '/' {
		return true
	}
	segment := 0 // where the segment before i began
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '/':
			if i > 0 && dots(path[segment:i]) {
				return true
			}
			segment = i + 1
		case c == '%':
			if ambiguousEscape(path, i) {
				return true
			}
			i += 2
		case c <= ' ', c >= 0x7f, c == '\\', c == ';', c == '#', c == '?':
			return true
		}
	}
	last := path[segment:]
	return last != "" && dots(last)
}

// dots reports whether a segment goes away when a path is cleaned.
func dots(segment string) bool { return segment == "" || segment == "." || segment == ".." }

func ambiguousEscape(s string, i int) bool {
	if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
		return true
	}
	switch c := escaped(s, i); {
	case c <= 0x1f, c == 0x7f, c == '/', c == '\\', c == ';', unreserved(c):
		return true
	case c == '%':
		return i+4 < len(s) && isHex(s[i+3]) && isHex(s[i+4])
	case c == 0xc0, c == 0xc1, c >= 0xf5:
		return true
	case c == 0xe0, c == 0xf0:
		return overlong(s, i, c)
	}
	return false
}

// overlong reports whether the escape after 0xe0 or 0xf0 makes a longer form of
// a shorter character (RFC 3629 section 3).
func overlong(s string, i int, lead byte) bool {
	next := i + 3
	if next+2 >= len(s) || s[next] != '%' || !isHex(s[next+1]) || !isHex(s[next+2]) {
		return true
	}
	least := byte(0xa0)
	if lead == 0xf0 {
		least = 0x90
	}
	return escaped(s, next) < least
}

// escaped is the byte that the escape at s[i] stands for.
func escaped(s string, i int) byte { return unhex(s[i+1])<<4 | unhex(s[i+2]) }

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

func unreserved(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// byteSet is a set of bytes.
type byteSet [4]uint64

func (b *byteSet) add(c byte)      { b[c/64] |= 1 << (c % 64) }
func (b *byteSet) has(c byte) bool { return b[c/64]&(1<<(c%64)) != 0 }
func (b *byteSet) empty() bool     { return *b == byteSet{} }

func (b *byteSet) meets(o byteSet) bool {
	return b[0]&o[0]|b[1]&o[1]|b[2]&o[2]|b[3]&o[3] != 0
}
