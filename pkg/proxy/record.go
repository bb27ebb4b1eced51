package proxy

import (
	"crypto/tls"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/process"
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
	c.write(r)
}

func (c *conn) write(r *audit.Record) {
	if err := c.p.o.Records.Append(r); err != nil {
		c.p.o.OnDefect(err)
	}
}

// describe fills what every record of this connection says.
func (c *conn) describe(r *audit.Record) {
	r.Time = time.Now()
	r.Flow = c.flowID()
	r.Process = c.process
	r.Guest = text(c.flow.GuestAddr())
	r.Original = endpoint(c.flow.Original)
}

// text is an address as records say it; "" for none.
func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func endpoint(a netip.AddrPort) *audit.Endpoint {
	if !a.IsValid() {
		return nil
	}
	return &audit.Endpoint{IP: a.Addr().String(), Port: a.Port()}
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
	signature audit.Signature
	said      [16]*saying // what was said last, by the ends of a process's number and an address
}

var entries = sync.Pool{New: func() any { return new(entry) }}

// release makes an entry fit for the next record.
func (e *entry) release() {
	e.Record, e.signature = audit.Record{}, audit.Signature{}
	entries.Put(e)
}

// sign is what a record says of the signature on a request.
func (e *entry) sign(s *inject.Signature) {
	if s == nil {
		return
	}
	e.signature = audit.Signature{Scheme: s.Scheme, KeyID: s.KeyID, Nonce: s.Nonce, Timestamp: s.Timestamp}
	e.Signature = &e.signature
}

// known is where the entry keeps what was said last of a process and an address.
func (e *entry) known(t *topic) **saying {
	at := uint32(t.original.Addr().As16()[15])
	if t.process != nil {
		at += t.process.PID
	}
	return &e.said[at%uint32(len(e.said))]
}

// said is what the records of one connection's requests said last. Streams of
// HTTP/2 use it at the same time.
type said struct {
	flow atomic.Pointer[string]
	last atomic.Pointer[saying]
}

// flowID is the name of the connection's flow.
func (c *conn) flowID() string {
	if id := c.said.flow.Load(); id != nil {
		return *id
	}
	id := c.flow.ID()
	c.said.flow.Store(&id)
	return id
}

// saying is what records say alike that one process makes to one API, encoded.
type saying struct {
	topic
	credentials []inject.Use
	shared      *audit.Shared
}

// topic decides, with the credentials, what is said. An identity never changes, so
// its address stands for it.
type topic struct {
	process                    *process.Identity
	guest                      netip.Addr
	original                   netip.AddrPort
	sni, host, route, decision string
	upstream                   unique.Handle[upstream.Peer] // zero: none was reached
	passed                     passage                      // zero: it was not passed through
}

// passage is where bytes go undecrypted.
type passage struct {
	to   netip.AddrPort
	from netip.Addr // egress IP; zero: any
}

// share lets what the intent said stand for what the result says again.
func (q *request) share(e *entry) {
	if s := q.said; s == nil || s.decision != e.Decision || s.upstream != q.peer() {
		t := q.topic(e.Decision)
		q.said = q.c.say(e, &t, q.applied.Credentials)
	}
	e.Share(q.said.shared)
}

// say gives what was said before, and the record says again: on this connection, or
// on another of the process.
func (c *conn) say(e *entry, t *topic, credentials []inject.Use) *saying {
	known, last := e.known(t), c.said.last.Load()
	s := last
	if !s.fits(t, credentials) {
		s = *known
	}
	if !s.fits(t, credentials) {
		s = &saying{*t, credentials, audit.Share(t.record(credentials))}
	}
	if *known = s; s != last {
		c.said.last.Store(s)
	}
	return s
}

func (s *saying) fits(t *topic, credentials []inject.Use) bool {
	return s != nil && s.topic == *t && slices.Equal(s.credentials, credentials)
}

func (q *request) topic(decision string) topic {
	return topic{
		process: q.c.process, guest: q.c.flow.GuestAddr(), original: q.c.flow.Original, sni: q.c.hello.ServerName,
		host: q.host, route: q.decision.Name, decision: decision, upstream: q.peer(),
	}
}

// peer is the upstream of the request; zero: none was reached.
func (q *request) peer() (p unique.Handle[upstream.Peer]) {
	if !q.up.IsZero() {
		p = q.up.Peer()
	}
	return p
}

// record is one that says just this.
func (t *topic) record(credentials []inject.Use) *audit.Record {
	r := &audit.Record{
		Process: t.process, Guest: text(t.guest), Original: endpoint(t.original), SNI: t.sni, Host: t.host, Route: t.route, Decision: t.decision,
	}
	for _, u := range credentials {
		r.Credentials = append(r.Credentials, audit.Credential{Name: u.Name, Version: u.Version, Form: u.Form})
	}
	var p upstream.Peer
	switch {
	case t.passed.to.IsValid():
		p.Remote, p.EgressIP = t.passed.to, t.passed.from
	case t.upstream != unique.Handle[upstream.Peer]{}:
		p = t.upstream.Value()
	default:
		return r
	}
	r.Upstream = upstreamOf(&p)
	if p.EgressIP.IsValid() {
		r.EgressIP = p.EgressIP.String()
	}
	return r
}

func upstreamOf(p *upstream.Peer) *audit.Upstream {
	u := &audit.Upstream{
		IP: p.Remote.Addr().String(), Port: p.Remote.Port(), ALPN: p.ALPN, CertSHA256: p.Leaf, ClientCert: p.ClientCert,
	}
	if p.TLS != 0 {
		u.TLS = strings.TrimPrefix(tls.VersionName(p.TLS), "TLS ")
	}
	return u
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
