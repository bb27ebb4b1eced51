package proxy

import (
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

// Strip drops the fields that the sieve names.
func (m headMessage) Strip(s *inject.Sieve) {
	for i := range m.x.req.Fields {
		if f := &m.x.req.Fields[i]; s.Drop(f.Name, f.Value) {
			m.x.edit.Drop.Add(i)
		}
	}
}

// Add appends a field to the head.
func (m headMessage) Add(name string, value []byte) {
	e := &m.x.edit
	e.Add = append(append(append(append(e.Add, name...), ": "...), value...), "\r\n"...)
}
