package proxy

import (
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http2/hpack"

	"github.com/outwarden/outwarden/pkg/inject"
)

// streamMessage lets a plan write on an HTTP/2 request that is about to leave.
// Field names go out in lower case, as RFC 9113 section 8.2.1 asks.
type streamMessage struct{ s *stream }

var _ inject.Message = streamMessage{}

// someFields hold a head and what is added to it, nearly always.
type someFields [24]hpack.HeaderField

var fieldSpace = sync.Pool{New: func() any { return new(someFields) }}

func newFields() []hpack.HeaderField { return fieldSpace.Get().(*someFields)[:0] }

// freeFields takes back what newFields returned, once they have left. Their strings
// may be secrets, so none is kept.
func freeFields(fields []hpack.HeaderField) {
	if cap(fields) != len(someFields{}) {
		return
	}
	space := (*someFields)(fields[:cap(fields)])
	*space = someFields{}
	fieldSpace.Put(space)
}

// Method returns :method.
func (m streamMessage) Method() string { return m.s.method }

// Authority returns :authority.
func (m streamMessage) Authority() string { return m.s.authority }

// Target returns :path.
func (m streamMessage) Target() string {
	for i := range m.s.out {
		if m.s.out[i].Name == ":path" {
			return m.s.out[i].Value
		}
	}
	return ""
}

// SetTarget replaces :path. Like what is added, no hop may keep it in a table.
func (m streamMessage) SetTarget(target []byte) {
	for i := range m.s.out {
		if m.s.out[i].Name == ":path" {
			m.s.out[i].Value, m.s.out[i].Sensitive = string(target), true
		}
	}
}

// Field returns the first field of that name that leaves.
func (m streamMessage) Field(name string) (value string, count int) {
	for i := range m.s.out {
		if m.s.out[i].Name == name {
			if count++; count == 1 {
				value = m.s.out[i].Value
			}
		}
	}
	return value, count
}

// Fields yields the fields that leave.
func (m streamMessage) Fields(yield func(name, value string) bool) {
	for _, f := range m.s.out {
		if f.Name[0] != ':' && !yield(f.Name, f.Value) {
			return
		}
	}
}

// Strip takes out the fields that the sieve names.
func (m streamMessage) Strip(s *inject.Sieve) {
	kept := m.s.out[:0]
	for _, f := range m.s.out {
		if f.Name[0] == ':' || !s.DropString(f.Name, f.Value) {
			kept = append(kept, f)
		}
	}
	m.s.out = kept
}

// Add appends a field. No hop may keep it in a table.
func (m streamMessage) Add(name string, value []byte) {
	m.s.out = append(m.s.out, hpack.HeaderField{Name: strings.ToLower(name), Value: string(value), Sensitive: true})
}

// SetContent sends content in the place of what was gathered.
func (m streamMessage) SetContent(content []byte) {
	m.s.rewrite = &rewrite{whole: append([]byte{}, content...)}
	m.measure(int64(len(content)))
}

// Rewrite sends the content through r.
func (m streamMessage) Rewrite(r inject.Rewriting) {
	m.s.rewrite = m.s.rewrite.begin(r, false)
	m.measure(r.Length)
}

// Seal returns the fields.
func (m streamMessage) Seal() (inject.Head, error) {
	return inject.Head{Fields: m.s.out}, m.s.rewrite.sealed()
}

// measure makes the head say how long the content is; -1: nothing.
func (m streamMessage) measure(length int64) {
	if m.s.length == length {
		return
	}
	m.s.out = slices.DeleteFunc(m.s.out, func(f hpack.HeaderField) bool { return f.Name == "content-length" || f.Name == "trailer" })
	if length >= 0 {
		m.s.out = append(m.s.out, hpack.HeaderField{Name: "content-length", Value: strconv.FormatInt(length, 10)})
	}
}
