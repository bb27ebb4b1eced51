package sigv4

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// parseTrailer cuts a trailer section into its fields and says where the value
// of x-amz-trailer-signature lies.
func parseTrailer(raw []byte, signed bool) (fields []Field, at [2]int, err error) {
	start, found := 0, false
	for line := range bytes.SplitAfterSeq(raw, []byte{'\n'}) {
		begin := start
		start += len(line)
		text := strings.Trim(string(line), " \t\r\n")
		if text == "" {
			continue
		}
		name, value, ok := strings.Cut(text, ":")
		value = strings.Trim(value, " \t")
		switch {
		case !ok || !token(name) || found || hasControl(value):
			return nil, at, fmt.Errorf("%w: bad trailer field", ErrChunk)
		case !strings.EqualFold(name, trailerName):
			fields = append(fields, Field{name, value})
			continue
		case !signed || !lowerHex64(value):
			return nil, at, fmt.Errorf("%w: bad trailer signature", ErrChunk)
		}
		found = true
		at[0] = begin + bytes.LastIndex(line, []byte(value))
		at[1] = at[0] + len(value)
	}
	if signed && !found {
		return nil, at, fmt.Errorf("%w: trailer has no signature", ErrChunk)
	}
	return fields, at, nil
}

// hasControl reports a control byte other than a tab.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}

// token reports whether s is a field name (RFC 9110 section 5.6.2).
func token(s string) bool {
	for i := range len(s) {
		if c := s[i]; !unreserved(c) && !strings.ContainsRune("!#$%&'*+^`|", rune(c)) {
			return false
		}
	}
	return s != ""
}

// CanonicalTrailer is what a trailer's signature covers: one line for each
// field, lower-case name, value trimmed, sorted by name.
func CanonicalTrailer(fields []Field) []byte {
	lines := make([]Field, 0, len(fields))
	for _, f := range fields {
		lines = append(lines, Field{strings.ToLower(f.Name), strings.Trim(f.Value, space)})
	}
	slices.SortStableFunc(lines, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	var b []byte
	for _, f := range lines {
		b = append(append(append(append(b, f.Name...), ':'), f.Value...), '\n')
	}
	return b
}
