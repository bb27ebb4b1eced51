package proxy

import (
	"strings"

	"github.com/outwarden/outwarden/pkg/http1"
)

// connectionSchemes prove who asks once for a whole connection (RFC 4559 section
// 6): what comes behind on it is answered as that one's.
var connectionSchemes = [...]string{"negotiate", "ntlm", "kerberos"}

// keepApart gives the workload's connection upstream connections of its own, from
// its first request on that proves who it is in such a way: they are its own for
// as long as it lasts, and never anybody else's.
func (c *conn) keepApart() {
	if c.apart.Load() == 0 {
		c.apart.CompareAndSwap(0, c.p.apart.Add(1))
	}
}

// part ends those upstream connections with the workload's.
func (c *conn) part() {
	if apart := c.apart.Load(); apart != 0 {
		c.snap.Upstream.Part(apart)
	}
}

// setApart looks for such a request.
func (x *exchange) setApart() {
	for i := range x.req.Fields {
		if f := &x.req.Fields[i]; http1.NameIs(f.Name, "authorization") && provesConnection(f.Value) {
			x.c.keepApart()
		}
	}
}

// setApart is the same for HTTP/2, whose streams may go to an upstream of HTTP/1.
func (s *stream) setApart() {
	for i := range s.head {
		if f := &s.head[i]; f.Name == "authorization" && provesConnection(f.Value) {
			s.c.keepApart()
		}
	}
}

// provesConnection reports whether an Authorization is of such a scheme.
func provesConnection[T ~string | ~[]byte](value T) bool {
	for _, scheme := range connectionSchemes {
		n := len(scheme)
		if len(value) >= n && (len(value) == n || value[n] == ' ' || value[n] == '\t') && strings.EqualFold(string(value[:n]), scheme) {
			return true
		}
	}
	return false
}
