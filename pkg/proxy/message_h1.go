package proxy

import (
	"bytes"
	"strconv"

	"github.com/outwarden/outwarden/pkg/http1"
	"github.com/outwarden/outwarden/pkg/inject"
)

// headMessage lets a plan write on an HTTP/1 head that is about to leave.
type headMessage struct{ x *exchange }

var _ inject.Message = headMessage{}

// Method returns the method as received.
func (m headMessage) Method() string { return m.x.method }

// Authority returns the value of Host.
func (m headMessage) Authority() string { return m.x.authority }

// Target returns the request target as it will be sent.
func (m headMessage) Target() string {
	if t := m.x.edit.Target; t != nil {
		return string(t)
	}
	return string(m.x.req.Target)
}

// SetTarget replaces the request target.
func (m headMessage) SetTarget(target []byte) { m.x.edit.Target = target }

// Field returns the first field of that name that leaves.
func (m headMessage) Field(name string) (value string, count int) {
	fields := m.x.req.Fields
	for i := range fields {
		if http1.NameIs(fields[i].Name, name) && !m.x.edit.Drop.Has(i) {
			if count++; count == 1 {
				value = string(fields[i].Value)
			}
		}
	}
	m.added(func(added, v []byte) bool {
		if http1.NameIs(added, name) {
			if count++; count == 1 {
				value = string(v)
			}
		}
		return true
	})
	return value, count
}

// Fields yields the fields that leave.
func (m headMessage) Fields(yield func(name, value string) bool) {
	fields := m.x.req.Fields
	for i := range fields {
		if !m.x.edit.Drop.Has(i) && !yield(string(fields[i].Name), string(fields[i].Value)) {
			return
		}
	}
	m.added(func(name, value []byte) bool { return yield(string(name), string(value)) })
}

// added yields the fields that Add wrote.
func (m headMessage) added(yield func(name, value []byte) bool) {
	for line := range bytes.Lines(m.x.edit.Add) {
		name, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\r\n")), []byte(": "))
		if !yield(name, value) {
			return
		}
	}
}

// Strip drops the fields that the sieve names. It is not shown those that end at
// this hop already, as what it swaps in one would leave again; but it has to see
// what Connection says of ours.
func (m headMessage) Strip(s *inject.Sieve) {
	for i := range m.x.req.Fields {
		f := &m.x.req.Fields[i]
		if m.x.edit.Drop.Has(i) && !http1.NameIs(f.Name, "connection") {
			continue
		}
		if s.Drop(f.Name, f.Value) {
			m.x.edit.Drop.Add(i)
		}
	}
}

// Add appends a field to the head.
func (m headMessage) Add(name string, value []byte) {
	e := &m.x.edit
	e.Add = append(append(append(append(e.Add, name...), ": "...), value...), "\r\n"...)
}

// SetContent sends content in the place of what was gathered.
func (m headMessage) SetContent(content []byte) {
	m.x.rewrite = &rewrite{whole: append([]byte{}, content...)}
	m.reframe(int64(len(content)))
}

// Rewrite sends the content through r.
func (m headMessage) Rewrite(r inject.Rewriting) {
	m.x.rewrite = m.x.rewrite.begin(r, r.Length < 0)
	m.reframe(r.Length)
}

// Seal puts the head together, with what is here of the content.
func (m headMessage) Seal() (inject.Head, error) {
	x := m.x
	if err := x.rewrite.sealed(); err != nil {
		return inject.Head{}, err
	}
	x.out = x.req.Append(x.out[:0], &x.edit)
	if f := x.appendContent(); f != nil {
		return inject.Head{}, f
	}
	return inject.Head{Bytes: x.out}, nil
}

// reframe makes the head say how long the content is; -1: it comes in chunks.
func (m headMessage) reframe(length int64) {
	x := m.x
	if x.req.Body == http1.BodyLength && x.req.Length == length {
		return
	}
	for _, name := range []string{"content-length", "transfer-encoding", "trailer"} {
		x.edit.DropName(x.req.Fields, name)
	}
	if length < 0 {
		m.Add("Transfer-Encoding", []byte("chunked"))
		return
	}
	m.Add("Content-Length", strconv.AppendInt(nil, length, 10))
}
