package inject

import (
	"slices"
	"strings"

	"github.com/outwarden/outwarden/pkg/upstream"
)

// head is a Message over a list of lines, as an HTTP/1 head has them.
type head struct {
	method, authority, target string
	fields                    [][2]string
	content                   []byte     // set by SetContent
	rewriting                 *Rewriting // by Rewrite
}

func (h *head) Method() string         { return h.method }
func (h *head) Authority() string      { return h.authority }
func (h *head) Target() string         { return h.target }
func (h *head) SetTarget(t []byte)     { h.target = string(t) }
func (h *head) Add(n string, v []byte) { h.fields = append(h.fields, [2]string{n, string(v)}) }

func (h *head) SetContent(c []byte) { h.content = append([]byte{}, c...) }
func (h *head) Rewrite(r Rewriting) { h.rewriting = &r }

func (h *head) Seal() (Head, error) { return Head{Bytes: []byte(h.String())}, nil }

func (h *head) Field(name string) (value string, count int) {
	for n, v := range h.Fields {
		if strings.EqualFold(n, name) {
			if count++; count == 1 {
				value = v
			}
		}
	}
	return value, count
}

func (h *head) Fields(yield func(name, value string) bool) {
	for _, f := range h.fields {
		if !yield(f[0], f[1]) {
			return
		}
	}
}

func (h *head) Strip(s *Sieve) {
	h.fields = slices.DeleteFunc(h.fields, func(f [2]string) bool {
		copied := *s
		asString := copied.DropString(f[0], f[1])
		if asBytes := s.Drop([]byte(f[0]), []byte(f[1])); asBytes != asString || s.nominated != copied.nominated {
			panic("Drop and DropString differ")
		}
		return asString
	})
}

func (h *head) String() string {
	s := h.method + " " + h.target
	for _, f := range h.fields {
		s += "\n" + f[0] + ": " + f[1]
	}
	return s
}

// values of a field, in any spelling that a server may take for it.
func (h *head) values(name string) (out []string) {
	for _, f := range h.fields {
		if foldName(f[0]) == foldName(name) {
			out = append(out, f[1])
		}
	}
	return out
}

func request(target string, fields ...string) *head {
	h := &head{method: "POST", authority: "api.partner.example", target: target}
	for _, f := range fields {
		name, v, _ := strings.Cut(f, ": ")
		h.fields = append(h.fields, [2]string{name, v})
	}
	return h
}

// permit is what Bind would give for this request.
func permit(p *Plan, m Message) Permit {
	return Permit{&upstream.Facts{}, p, m.Method(), m.Authority()}
}

func apply(t test, p *Plan, m Message) Applied {
	t.Helper()
	_, done, err := p.Apply(permit(p, m), m, Content{Bytes: []byte("body")}, now)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// quiet is a Message that keeps nothing, to count what Apply itself allocates.
type quiet struct{ fields [][2][]byte }

func (*quiet) Method() string      { return "GET" }
func (*quiet) Authority() string   { return "api.partner.example" }
func (*quiet) Target() string      { return "/api/v1/transfers?id=7" }
func (*quiet) SetTarget([]byte)    {}
func (*quiet) Add(string, []byte)  {}
func (*quiet) SetContent([]byte)   {}
func (*quiet) Rewrite(Rewriting)   {}
func (*quiet) Seal() (Head, error) { return Head{}, nil }

func (*quiet) Field(string) (string, int)       { return "application/json", 1 }
func (*quiet) Fields(func(string, string) bool) {}

func (q *quiet) Strip(s *Sieve) {
	for i := range q.fields {
		s.Drop(q.fields[i][0], q.fields[i][1])
	}
}

func quietMessage() *quiet {
	q := &quiet{}
	for _, f := range request("", "Host: api.partner.example", "User-Agent: curl/8", "Accept: */*", "Content-Type: application/json",
		"Connection: keep-alive", "X-Request-Id: 1").fields {
		q.fields = append(q.fields, [2][]byte{[]byte(f[0]), []byte(f[1])})
	}
	return q
}
