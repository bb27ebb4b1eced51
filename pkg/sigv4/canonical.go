package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

const space = " \t\r\n\v\f"

// PathRule says how a path becomes canonical.
type PathRule uint8

const (
	// ByService takes S3Path for the S3 family and NormalizedPath for all others.
	ByService PathRule = iota
	// S3Path encodes once and leaves dot segments and slashes.
	S3Path
	// NormalizedPath removes dot segments and repeated slashes, and encodes once more.
	NormalizedPath
	// RawPath encodes once more and leaves dot segments and slashes.
	RawPath
)

// S3Family reports whether service follows S3's rules: the path is encoded once
// and x-amz-content-sha256 is required.
func S3Family(service string) bool {
	switch service {
	case "s3", "s3express", "s3-object-lambda", "s3-outposts":
		return true
	}
	return false
}

func (p PathRule) of(service string) PathRule {
	switch {
	case p != ByService:
		return p
	case S3Family(service):
		return S3Path
	}
	return NormalizedPath
}

// canonicalPath appends path in its canonical form.
func canonicalPath(b []byte, path string, rule PathRule) []byte {
	switch rule {
	case S3Path:
		return appendRecoded(b, path, true, false)
	case NormalizedPath:
		path = normalize(path)
	}
	return appendEncoded(b, path, true)
}

// normalize removes empty and dot segments. A slash at the end stays.
func normalize(path string) string {
	var kept []string
	for s := range strings.SplitSeq(path, "/") {
		switch s {
		case "", ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, s)
		}
	}
	out := "/" + strings.Join(kept, "/")
	if len(kept) > 0 && strings.HasSuffix(path, "/") {
		out += "/"
	}
	return out
}

// pair is one name and value of a query, encoded canonically.
type pair struct{ name, value string }

// canonicalQuery appends the query's pairs and more, sorted. without is left out.
func canonicalQuery(b []byte, query string, more []pair, without string) []byte {
	pairs := make([]pair, 0, 8)
	for piece := range strings.SplitSeq(query, "&") {
		if piece == "" {
			continue
		}
		name, value, _ := strings.Cut(piece, "=")
		p := pair{recode(name), recode(value)}
		if without == "" || p.name != without {
			pairs = append(pairs, p)
		}
	}
	for _, p := range more {
		pairs = append(pairs, pair{encode(p.name), encode(p.value)})
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	for i, p := range pairs {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(append(append(b, p.name...), '='), p.value...)
	}
	return b
}

func recode(s string) string { return string(appendRecoded(nil, s, false, true)) }
func encode(s string) string { return string(appendEncoded(nil, s, false)) }

// signedNames are the lower-case names of the fields that covers takes, sorted.
func signedNames(fields []Field, covers func(string) bool) []string {
	names := make([]string, 0, len(fields))
	for _, f := range fields {
		if name := strings.ToLower(f.Name); name == "host" || !hop(name) && covers(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// canonicalFields appends one line for each of names.
func canonicalFields(b []byte, fields []Field, names []string) []byte {
	for _, name := range names {
		b = append(append(b, name...), ':')
		first := true
		for _, f := range fields {
			if !strings.EqualFold(f.Name, name) {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			b, first = appendCollapsed(b, f.Value), false
		}
		b = append(b, '\n')
	}
	return b
}

// appendCollapsed appends s without the white space around it and with each run
// inside as one space.
func appendCollapsed(b []byte, s string) []byte {
	s = strings.Trim(s, space)
	run := false
	for i := range len(s) {
		if strings.IndexByte(space, s[i]) >= 0 {
			run = true
			continue
		}
		if run {
			b, run = append(b, ' '), false
		}
		b = append(b, s[i])
	}
	return b
}

// canonicalRequest is the text whose hash is signed.
func canonicalRequest(r *Request, rule PathRule, query []byte, names []string, payload string) []byte {
	b := make([]byte, 0, 1024)
	b = append(append(b, r.Method...), '\n')
	b = append(canonicalPath(b, r.path(), rule), '\n')
	b = append(append(b, query...), '\n')
	b = append(canonicalFields(b, r.Fields, names), '\n')
	for i, name := range names {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	return append(append(b, '\n'), payload...)
}

// Sum is how a signature names content: its SHA-256 in lower-case hex.
func Sum(content []byte) string { return sumHex(content) }

// sumHex is SHA-256 in lower-case hex.
func sumHex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
