package audit

import (
	"bytes"
	"slices"
)

// order names the fields of a record, as it is shown, from the first that a
// common object may have.
var order = [...]string{
	"process", "original", "sni", "host", "method", "path", "route", "decision", "reason", "credentials", "signature",
	"upstream", "egress_ip", "status", "bytes_in", "bytes_out", "duration_ms", "scrubbed", "anomaly", "lost", "mac", "prev", "hash",
}

// rank is the place of a member like "host":"api.example"; -1: in front.
func rank(member []byte) int {
	name, _, _ := bytes.Cut(member[min(1, len(member)):], []byte{'"'})
	return slices.Index(order[:], string(name))
}

// mergeMembers makes one JSON object of two whose members are in order.
func mergeMembers(a, b []byte) []byte {
	out := make([]byte, 0, len(a)+len(b))
	a, b = inside(a), inside(b)
	for len(a)+len(b) > 0 {
		from := &a
		if len(a) == 0 || len(b) > 0 && rank(b) < rank(a) {
			from = &b
		}
		n := memberLen(*from)
		out = append(append(out, ','), (*from)[:n]...)
		*from = (*from)[min(n+1, len(*from)):]
	}
	out = append(out, '}')
	out[0] = '{' // for the comma
	return out
}

// inside is what stands between the braces of an object.
func inside(object []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimPrefix(object, []byte{'{'}), []byte{'}'})
}

// memberLen is how long the first member is: up to the comma behind it.
func memberLen(b []byte) int {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		case c == ',' && depth == 0:
			return i
		}
	}
	return len(b)
}
