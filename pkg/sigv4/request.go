package sigv4

import "strings"

// Field is one field line of a request, in the order of arrival.
type Field struct{ Name, Value string }

// Request is what a signature covers, as it is on the wire.
type Request struct {
	Method string
	Target string // path with query, in origin form, never decoded
	// Fields are all fields, Host among them (for HTTP/2 :authority as "host").
	Fields []Field
}

// path is the target's path; pathOf("") is "/".
func (r *Request) path() string {
	p, _, _ := strings.Cut(r.Target, "?")
	if p == "" {
		return "/"
	}
	return p
}

func (r *Request) query() string {
	_, q, _ := strings.Cut(r.Target, "?")
	return q
}

// count is the number of field lines of that name.
func (r *Request) count(name string) int {
	n := 0
	for i := range r.Fields {
		if strings.EqualFold(r.Fields[i].Name, name) {
			n++
		}
	}
	return n
}

// get is the value of the only field of that name, without the white space
// around it; "" if there is none.
func (r *Request) get(name string) string {
	for i := range r.Fields {
		if strings.EqualFold(r.Fields[i].Name, name) {
			return strings.Trim(r.Fields[i].Value, space)
		}
	}
	return ""
}

// check refuses what could not be signed in one way only.
func (r *Request) check() error {
	if r.count("host") != 1 || r.get("host") == "" {
		return ErrHost
	}
	if hasBreak(r.Method) || r.Method == "" || hasBreak(r.Target) {
		return ErrMalformed
	}
	return nil
}

// hasBreak reports a byte that would end a line of the canonical request.
func hasBreak(s string) bool { return strings.ContainsAny(s, "\r\n\x00") }

// replace returns fields without those that set names, and set behind them.
func replace(fields, set []Field) []Field {
	out := make([]Field, 0, len(fields)+len(set))
next:
	for _, f := range fields {
		for _, s := range set {
			if strings.EqualFold(f.Name, s.Name) {
				continue next
			}
		}
		out = append(out, f)
	}
	return append(out, set...)
}
