package proxy

import (
	"crypto/tls"
	"strings"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// recordConnection writes the one record of a connection that carried no
// request we could see: denied, passed through, broken or unattributed.
func (c *conn) recordConnection(r audit.Record) {
	r.Kind = audit.KindConnection
	c.describe(&r)
	if r.Decision == policy.Deny.String() {
		c.p.stats.Denied.Add(1)
	}
	if err := c.p.o.Records.Append(&r); err != nil {
		c.p.o.OnDefect(err)
	}
}

// describe fills what every record of this connection says.
func (c *conn) describe(r *audit.Record) {
	r.Time = time.Now()
	r.Flow = c.flow.ID()
	r.Process = c.process
	if c.flow.Original.IsValid() {
		r.Original = &audit.Endpoint{IP: c.flow.Original.Addr().String(), Port: c.flow.Original.Port()}
	}
}

// recordSilence is the record of an intercepted connection without a request.
func (c *conn) recordSilence() {
	c.recordConnection(audit.Record{
		SNI: c.hello.ServerName, Host: c.name, Route: c.decision.Name, Decision: policy.Intercept.String(),
		Reason: flow.ReasonWorkloadClosed.String(), DurationMS: milliseconds(time.Since(c.started)),
	})
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// describeUpstream is what a record says of the upstream connection.
func describeUpstream(f *upstream.Facts) *audit.Upstream {
	u := &audit.Upstream{IP: f.Remote.Addr().String(), Port: f.Remote.Port(), ALPN: f.ALPN}
	if f.TLS != 0 {
		u.TLS = strings.TrimPrefix(tls.VersionName(f.TLS), "TLS ")
	}
	u.CertSHA256, u.ClientCert = f.Leaf, f.ClientCert
	return u
}

func describeUses(uses []inject.Use) []audit.Credential {
	out := make([]audit.Credential, len(uses))
	for i, u := range uses {
		out[i] = audit.Credential{Name: u.Name, Version: u.Version, Form: u.Form}
	}
	return out
}

func describeSignature(s *inject.Signature) *audit.Signature {
	if s == nil {
		return nil
	}
	return &audit.Signature{Scheme: s.Scheme, KeyID: s.KeyID, Nonce: s.Nonce, Timestamp: s.Timestamp}
}

// redactQuery keeps the names of a query and none of its values.
func redactQuery(query string) string {
	var b strings.Builder
	for i, pair := range strings.Split(query, "&") {
		if i > 0 {
			b.WriteByte('&')
		}
		name, _, valued := strings.Cut(pair, "=")
		if valued {
			b.WriteString(name + "=")
		}
		if pair != "" { // a piece without = may be the secret itself
			b.WriteString("[redacted]")
		}
	}
	return b.String()
}
