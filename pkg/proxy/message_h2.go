package proxy

import (
	"net/http"
	"strings"

	"github.com/outwarden/outwarden/pkg/inject"
)

// streamMessage lets a plan write on an HTTP/2 request that is about to leave.
// Field names go out in lower case, as RFC 9113 section 8.2.1 asks.
type streamMessage struct{ out *http.Request }

var _ inject.Message = streamMessage{}

// Method returns :method.
func (m streamMessage) Method() string { return m.out.Method }

// Authority returns :authority.
func (m streamMessage) Authority() string { return m.out.Host }

// Target returns :path.
func (m streamMessage) Target() string {
	return strings.TrimPrefix(m.out.URL.Opaque, "//"+m.out.Host)
}

// SetTarget replaces :path.
func (m streamMessage) SetTarget(target []byte) {
	m.out.URL = rawURL(m.out.URL.Scheme, m.out.Host, string(target))
}

// Strip takes out the fields that the sieve names.
func (m streamMessage) Strip(s *inject.Sieve) {
	for name, values := range m.out.Header {
		drop := false
		for _, value := range values {
			drop = s.DropString(name, value) || drop
		}
		if drop {
			delete(m.out.Header, name)
		}
	}
}

// Add appends a field.
func (m streamMessage) Add(name string, value []byte) {
	name = http.CanonicalHeaderKey(name)
	m.out.Header[name] = append(m.out.Header[name], string(value))
}
