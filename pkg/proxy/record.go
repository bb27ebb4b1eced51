package proxy

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// recordConnection writes the one record of a connection that carried no
// request we could see: denied, passed through, broken or unattributed.
func (c *conn) recordConnection(r *audit.Record) {
	r.Kind = audit.KindConnection
	c.describe(r)
	if r.Decision == policy.Deny.String() {
		c.p.stats.Denied.Add(1)
	}
	if err := c.p.o.Records.Append(r); err != nil {
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
func (c *conn) recordSilence(why flow.Reason) {
	c.recordConnection(&audit.Record{
		SNI: c.hello.ServerName, Host: c.name, Route: c.decision.Name, Decision: policy.Intercept.String(),
		Reason: why.String(), DurationMS: milliseconds(time.Since(c.started)),
	})
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// entry is a record with room for what it refers to. It is reused: a request
// leaves two records and allocates nothing for them.
type entry struct {
	audit.Record
	credentials []audit.Credential
	signature   audit.Signature
}

var entries = sync.Pool{New: func() any { return new(entry) }}

// release makes an entry fit for the next record.
func (e *entry) release() {
	*e = entry{credentials: e.credentials[:0]}
	entries.Put(e)
}

// apply is what a record says of the credentials and the signature on a request.
func (e *entry) apply(a *inject.Applied) {
	for _, u := range a.Credentials {
		e.credentials = append(e.credentials, audit.Credential{Name: u.Name, Version: u.Version, Form: u.Form})
	}
	e.Credentials = e.credentials
	if s := a.Signature; s != nil {
		e.signature = audit.Signature{Scheme: s.Scheme, KeyID: s.KeyID, Nonce: s.Nonce, Timestamp: s.Timestamp}
		e.Signature = &e.signature
	}
}

// said is what the records of one connection's requests have in common, encoded
// once. Streams of HTTP/2 use it at the same time.
type said struct {
	connection atomic.Pointer[audit.Shared]
	upstream   atomic.Pointer[saidOfUpstream]
}

// upstreamFacts is what a record says of an upstream connection. Pooled ones to
// one origin are mostly alike in it.
type upstreamFacts struct {
	remote           netip.AddrPort
	egressIP         netip.Addr
	tls              uint16
	alpn             string
	leaf, clientCert audit.Digest
}

type saidOfUpstream struct {
	facts  upstreamFacts
	shared *audit.Shared
}

// ofConnection is what every request's record says of the connection.
func (c *conn) ofConnection() *audit.Shared {
	if s := c.said.connection.Load(); s != nil {
		return s
	}
	r := audit.Record{SNI: c.hello.ServerName}
	c.describe(&r)
	s := audit.ShareConnection(&r)
	c.said.connection.Store(s)
	return s
}

// ofUpstream is what a record says of an upstream connection.
func (c *conn) ofUpstream(f *upstream.Facts) *audit.Shared {
	facts := upstreamFacts{f.Remote, f.EgressIP, f.TLS, f.ALPN, f.Leaf, f.ClientCert}
	if last := c.said.upstream.Load(); last != nil && last.facts == facts {
		return last.shared
	}
	s := audit.ShareUpstream(facts.record())
	c.said.upstream.Store(&saidOfUpstream{facts, s})
	return s
}

func (f *upstreamFacts) record() *audit.Record {
	r := &audit.Record{Upstream: &audit.Upstream{
		IP: f.remote.Addr().String(), Port: f.remote.Port(), ALPN: f.alpn, CertSHA256: f.leaf, ClientCert: f.clientCert,
	}}
	if f.tls != 0 {
		r.Upstream.TLS = strings.TrimPrefix(tls.VersionName(f.tls), "TLS ")
	}
	if f.egressIP.IsValid() {
		r.EgressIP = f.egressIP.String()
	}
	return r
}

// shownPath is the path as records show it.
func shownPath(path, query string) string {
	if query == "" {
		return path
	}
	return path + "?" + redactQuery(query)
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
