package match

import (
	"errors"
	"fmt"
	"strings"
)

const (
	anySegments = "**"
	reserved    = "?[]{}"
)

// Glob is a pattern for executables, units and cgroups. The zero Glob matches
// nothing.
type Glob struct {
	pattern  string
	segments []string
	shape    shape
	fixed    string // of a pattern that has a shape: all but the wildcard and its slash
}

// shape tells patterns that are matched by comparing strings: most are.
type shape uint8

const (
	irregular shape = iota // segment by segment
	whole                  // /usr/bin/curl
	under                  // /usr/lib/**
	last                   // **/curl
)

// shapeOf finds the shape of a pattern, and what is fixed in it: all, or all but one
// ** at its beginning or its end.
func shapeOf(pattern string) (shape, string) {
	if strings.IndexByte(pattern, '*') < 0 {
		return whole, pattern
	}
	if fixed, ok := strings.CutSuffix(pattern, "/"+anySegments); ok && strings.IndexByte(fixed, '*') < 0 {
		return under, fixed
	}
	if fixed, ok := strings.CutPrefix(pattern, anySegments+"/"); ok && strings.IndexByte(fixed, '*') < 0 {
		return last, fixed
	}
	return irregular, ""
}

// ParseGlob reads a glob of the package's grammar.
func ParseGlob(s string) (Glob, error) {
	if s == "" {
		return Glob{}, errors.New("pattern is empty")
	}
	segments, err := parseSegments(s)
	if err != nil {
		return Glob{}, err
	}
	g := Glob{pattern: s, segments: segments}
	g.shape, g.fixed = shapeOf(s)
	return g, nil
}

// Match reports whether the whole of s matches. "" never does: what is unknown
// is no match.
func (g Glob) Match(s string) bool { return s != "" && g.matches(s) }

func (g *Glob) matches(s string) bool {
	switch beyond := len(s) - len(g.fixed); g.shape {
	case whole:
		return s == g.fixed
	case under:
		return beyond >= 0 && s[:len(g.fixed)] == g.fixed && (beyond == 0 || s[len(g.fixed)] == '/')
	case last:
		return beyond >= 0 && s[beyond:] == g.fixed && (beyond == 0 || s[beyond-1] == '/')
	}
	return matchSegments(g.segments, s, literal)
}

// Covers reports whether g surely matches everything that o matches; false
// where that takes more than comparing segment by segment.
func (g Glob) Covers(o Glob) bool { return matchSegments(g.segments, o.pattern, pattern) }

// String is the pattern as it was written.
func (g Glob) String() string { return g.pattern }

// MarshalText returns the pattern, so that encoders show it.
func (g Glob) MarshalText() ([]byte, error) { return []byte(g.pattern), nil }

// parseSegments splits a pattern at its slashes and refuses what the grammar
// has no meaning for.
func parseSegments(s string) ([]string, error) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == 0x7f {
			return nil, fmt.Errorf("pattern %q has a control byte", s)
		}
	}
	if i := strings.IndexAny(s, reserved); i >= 0 {
		return nil, fmt.Errorf("pattern %q: %c is reserved; * and ** are the wildcards", s, s[i])
	}
	segments := strings.Split(s, "/")
	for _, segment := range segments {
		if segment != anySegments && strings.Contains(segment, anySegments) {
			return nil, fmt.Errorf("pattern %q: ** stands as a whole segment, between slashes", s)
		}
	}
	return segments, nil
}

// reading is how matchSegments takes the string that it matches.
type reading uint8

const (
	literal  reading = 0
	pattern  reading = 1 << 0 // it is a pattern, whose every match must be matched
	decoded  reading = 1 << 1 // percent-encoding stands for the byte it encodes, on both sides
	stripped reading = 1 << 2 // a segment ends where its parameters begin: a;x=1 is a
	merged   reading = 1 << 3 // several slashes are one
	trimmed  reading = 1 << 4 // as stripped, but an encoded ; begins no parameters
)

// matchSegments matches s, split at its slashes. Only the last ** met can still
// take more, so one place to go back to is enough and the time is bounded by the
// product of the lengths.
func matchSegments(segments []string, s string, as reading) bool {
	at, rest, more := 0, s, len(segments) > 0
	back, backRest := -1, ""
	for more {
		if at < len(segments) && segments[at] == anySegments {
			back, backRest = at, rest
			at++
			continue
		}
		segment, next, left := strings.Cut(rest, "/")
		if as&merged != 0 && segment == "" && left && len(rest) < len(s) {
			rest = next
			continue
		}
		if at < len(segments) && matchSegment(segments[at], segment, as) {
			at, rest, more = at+1, next, left
			continue
		}
		if back < 0 {
			return false
		}
		_, backRest, more = strings.Cut(backRest, "/")
		at, rest = back+1, backRest
	}
	for at < len(segments) && segments[at] == anySegments {
		at++
	}
	return at == len(segments) && at > 0
}

// matchSegment matches one segment. In another pattern a * is matched only by a
// *, which then takes whatever that one could stand for.
func matchSegment(p, s string, as reading) bool {
	if as&pattern != 0 && s == anySegments {
		return false
	}
	switch {
	case as&stripped != 0:
		s = s[:parameters(s)]
	case as&trimmed != 0:
		s, _, _ = strings.Cut(s, ";")
	}
	pi, si, star, from := 0, 0, -1, 0
	for si < len(s) {
		if pi < len(p) && p[pi] == '*' {
			star, from = pi, si
			pi++
			continue
		}
		want, pwidth := unit(p, pi, as)
		have, swidth := unit(s, si, as)
		switch {
		case pwidth > 0 && want == have:
			pi += pwidth
			si += swidth
		case star >= 0:
			_, width := unit(s, from, as)
			from += width
			pi, si = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(p[pi:], "*") == ""
}

// unit is the byte at s[i] in a reading, and how many bytes spell it; 0 at the
// end.
func unit(s string, i int, as reading) (c byte, width int) {
	switch {
	case i >= len(s):
		return 0, 0
	case as&decoded != 0 && isEscape(s, i):
		return escaped(s, i), escapeLen
	}
	return s[i], 1
}
