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
	escapes bool // it names an escape
}

// ParsePath reads a path pattern of the package's grammar. It begins with a
// slash.
func ParsePath(s string) (Path, error) {
	if !strings.HasPrefix(s, "/") {
		return Path{}, fmt.Errorf("path %q does not begin with a slash", s)
	}
	if strings.Contains(s, "?") {
		return Path{}, fmt.Errorf("path %q has a query; paths are matched without it", s)
	}
	if AmbiguousPath(s) || strings.Contains(s, "//") {
		return Path{}, fmt.Errorf("path %q: %w", s, ErrPathAmbiguous)
	}
	glob, err := ParseGlob(s)
	return Path{glob, has(s, '%')}, err
}

// Match reports whether the whole path matches, byte for byte. Ask
// [Path.Ambiguous] first: a path with two readings can slip past a pattern. The
// empty path is / (RFC 9110 section 4.2.3).
func (p *Path) Match(path string) bool {
	if path == "" {
		path = "/"
	}
	return p.glob.matches(path)
}

// reads is Match in another reading of the path, which is not empty.
func (p *Path) reads(path string, as reading) bool { return matchSegments(p.glob.segments, path, as) }

// Covers reports whether p surely matches everything that o matches.
func (p Path) Covers(o Path) bool { return p.glob.Covers(o.glob) }

// String is the pattern as it was written.
func (p Path) String() string { return p.glob.pattern }

// MarshalText returns the pattern, so that encoders show it.
func (p Path) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Ambiguous reports whether the path must not be decided by this pattern: it is
// ambiguous in itself ([AmbiguousPath]), or the pattern would answer otherwise to
// a server that decodes percent-encoding, drops the parameters of segments
// (/admin;x/users) before or after that, merges slashes (/admin//users), takes what
// follows two of them for a host (//h/admin), or any of these together. A pattern
// that names a ; itself is for a server that keeps them.
func (p *Path) Ambiguous(path string) bool {
	if path == "" {
		path = "/"
	}
	if plainPath(path) && !p.escapes {
		return false
	}
	if AmbiguousPath(path) {
		return true
	}
	match := p.Match(path)
	if p.readsOther(path, match) {
		return true
	}
	if !strings.HasPrefix(path, "//") {
		return false
	}
	rest := behindHost(path)
	return p.Match(rest) != match || p.readsOther(rest, match)
}

// readsOther reports whether the pattern answers otherwise than said in a reading of
// the path that is not the literal one.
func (p *Path) readsOther(path string, said bool) bool {
	all := p.readings(path)
	for as := all; as != literal; as = (as - 1) & all { // every choice of them
		if p.reads(path, as) != said {
			return true
		}
	}
	return false
}

// behindHost is what a server takes for the path that looks for a host behind two
// slashes, or more (RFC 3986 section 4.2, the URL standard of the browsers).
func behindHost(path string) string {
	rest := strings.TrimLeft(path, "/")
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[i:]
	}
	return "/"
}

// readings are those that may tell the path from what is written.
func (p *Path) readings(path string) (as reading) {
	if has(path, '%') || p.escapes {
		as |= decoded
	}
	if parameters(path) < len(path) && !has(p.glob.pattern, ';') {
		as |= stripped
		if has(path, ';') && has(path, '%') { // else it reads as stripped does
			as |= trimmed
		}
	}
	if strings.Contains(path, "//") {
		as |= merged
	}
	return as
}

func has(s string, c byte) bool { return strings.IndexByte(s, c) >= 0 }

// AmbiguousPath reports whether servers read the path in ways that lead to
// different resources, whatever the pattern. It does not allocate. Such are:
//
//   - a path that does not begin with a slash, unless it is empty or *;
//   - the segments . and .., their dots encoded or not, with parameters (..;x) or
//     without, and segments except the last that are nothing but parameters;
//   - a percent-encoded slash, backslash or control byte, also where it or a dot
//     is encoded twice (%252f), and overlong UTF-8 forms (%c0%af);
//   - malformed percent-encoding;
//   - raw backslashes, fragments, queries, blanks, control bytes and bytes from
//     0x80 up.
func AmbiguousPath(path string) bool {
	switch {
	case path == "", path == "*", plainPath(path):
		return false
	case path[0] != '/':
		return true
	}
	return ambiguousSegments(path[1:])
}

func ambiguousSegments(rest string) bool {
	for more := true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if segment != "" && parameters(segment) == 0 && more || dots(segment) || ambiguousBytes(segment) {
			return true
		}
	}
	return false
}

// plainPath reports whether every server reads the path alike, in one look at it:
// it comes from the root, has neither escapes nor parameters, and no segment of it
// begins with a dot or is empty, the last aside. Most paths are plain; the others
// are looked at closely.
func plainPath(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	before := byte(0)
	for i := range len(path) {
		c := path[i]
		if !plainBytes[c] || before == '/' && (c == '/' || c == '.') {
			return false
		}
		before = c
	}
	return true
}

// plainBytes are those that stand for themselves in a path. It is never written
// after it was made.
var plainBytes = func() (t [256]bool) {
	for c := range t {
		t[c] = c > ' ' && c < 0x7f && !strings.ContainsRune(`%;\#?`, rune(c))
	}
	return t
}()

// dots reports whether a segment goes away when a path is cleaned.
func dots(segment string) bool {
	segment = segment[:parameters(segment)]
	count := 0
	for i := 0; i < len(segment); {
		c, width := unit(segment, i, decoded)
		if c != '.' {
			return false
		}
		count++
		i += width
	}
	return count == 1 || count == 2
}

// parameters is where the parameters of a segment begin, len(s) if it has none.
func parameters(s string) int {
	for i := 0; i < len(s); {
		c, width := unit(s, i, decoded)
		if c == ';' {
			return i
		}
		i += width
	}
	return len(s)
}

func ambiguousBytes(segment string) bool {
	for i := 0; i < len(segment); i++ {
		switch c := segment[i]; {
		case c == '%':
			if !isEscape(segment, i) || ambiguousEscape(segment, i) {
				return true
			}
		case c <= ' ', c >= 0x7f, c == '\\', c == '#', c == '?':
			return true
		}
	}
	return false
}

// ambiguousEscape judges the escape at s[i].
func ambiguousEscape(s string, i int) bool {
	const continuation = 0x80 // of UTF-8
	next := byte(0)
	if isEscape(s, i+escapeLen) {
		next = escaped(s, i+escapeLen)
	}
	switch c := escaped(s, i); c {
	case '%':
		return encodedTwice(s[i+escapeLen:])
	case 0xc0, 0xc1: // RFC 3629 section 3: never in UTF-8; alone they are Latin-1
		return next >= continuation && next < 0xc0
	case 0xe0:
		return next >= continuation && next < 0xa0
	case 0xf0:
		return next >= continuation && next < 0x90
	default:
		return separates(c)
	}
}

// encodedTwice reports whether what follows an encoded percent sign would be an
// escape that matters, if the path were decoded once more.
func encodedTwice(s string) bool {
	if len(s) < 2 || !isHex(s[0]) || !isHex(s[1]) {
		return false
	}
	c := unhex(s[0])<<4 | unhex(s[1])
	return separates(c) || c == '.' || c == '%'
}

// separates reports whether a byte, once decoded, ends a segment or a path.
func separates(c byte) bool { return c < ' ' || c == 0x7f || c == '/' || c == '\\' }

// escapeLen is the length of %XX (RFC 3986 section 2.1).
const escapeLen = 3

func isEscape(s string, i int) bool {
	return i+2 < len(s) && s[i] == '%' && isHex(s[i+1]) && isHex(s[i+2])
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
