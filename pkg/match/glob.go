package match

import (
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
}

// ParseGlob reads a glob of the package's grammar.
func ParseGlob(s string) (Glob, error) {
	if s == "" {
		return Glob{}, fmt.Errorf("pattern is empty")
	}
	segments, err := parseSegments(s)
	if err != nil {
		return Glob{}, err
	}
	return Glob{s, segments}, nil
}

// Match reports whether the whole of s matches. "" never does: what is unknown
// is no match.
func (g Glob) Match(s string) bool { return s != "" && matchSegments(g.segments, s, literal) }

// Covers reports whether g surely matches everything that o matches; false
// where that takes more than comparing segment by segment.
func (g Glob) Covers(o Glob) bool { return matchSegments(g.segments, o.pattern, pattern) }

// String is the pattern as it was written.
func (g Glob) String() string { return g.pattern }

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

// subject is what matchSegments matches: a string, or another pattern whose
// every match must be matched.
type subject bool

const (
	literal subject = false
	pattern subject = true
)

// matchSegments matches s, split at its slashes. Only the last ** met can still
// take more, so one place to go back to is enough and the time is bounded by the
// product of the lengths.
func matchSegments(segments []string, s string, kind subject) bool {
	at, rest, more := 0, s, len(segments) > 0
	back, backRest := -1, ""
	for more {
		if at < len(segments) && segments[at] == anySegments {
			back, backRest = at, rest
			at++
			continue
		}
		segment, next, left := strings.Cut(rest, "/")
		if at < len(segments) && matchSegment(segments[at], segment, kind) {
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
func matchSegment(p, s string, kind subject) bool {
	if kind == pattern && s == anySegments {
		return false
	}
	pi, si, star, from := 0, 0, -1, 0
	for si < len(s) {
		switch {
		case pi < len(p) && p[pi] == '*':
			star, from = pi, si
			pi++
		case pi < len(p) && p[pi] == s[si]:
			pi++
			si++
		case star >= 0:
			from++
			pi, si = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(p[pi:], "*") == ""
}
