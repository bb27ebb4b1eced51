package proxy

import (
	"context"
	"net/netip"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/match"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/scrub"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// request is one request, whichever HTTP version carries it: one decision, one
// upstream connection, one permit, one record. Its methods are called in the
// order in which they stand here.
type request struct {
	c         *conn
	began     time.Time
	method    string
	authority string // Host or :authority, as received
	path      string // raw, without the query
	query     string // raw, without '?'

	host     string // canonical authority
	decision policy.Decision
	plan     *Plan      // nil: no route, or one that only observes
	addr     netip.Addr // of a loose one: where it goes
	up       inject.Conn
	applied  inject.Applied
	scrubbed scrub.Tally // what came back of it
	said     *saying     // what its last record said of all that is above; nil: there is none

	gathering inject.Gathering // why all of the content is here before the head leaves

	status            int
	bytesIn, bytesOut int64 // from and to the upstream, heads included
}

// decide finds the route for the request, which may only narrow what was
// decided for the connection, and refuses what policy refuses.
func (q *request) decide(m message) *failure {
	if f := q.oneName(); f != nil {
		return f
	}
	decision, wrong := q.choose(q.c.routesOf(q.host), m)
	q.decision = decision
	if q.decision.Route < 0 && q.c.proto == protoTLS && q.c.hello.ServerName == "" {
		q.decision.Reason = q.c.decision.Reason // why no route could be found by name
	}
	if q.method == "CONNECT" {
		return refusal(flow.ReasonMethodForbids, "a tunnel would hide requests from policy")
	}
	switch q.decision.Effective() {
	case policy.Deny:
		return refusal(q.decision.Reason, wrong)
	case policy.Intercept:
		if q.decision.Route >= 0 {
			q.plan = &q.c.snap.Plans[q.decision.Route]
		}
	}
	if q.plan.identifies() && q.c.proto != protoTLS && !q.plan.Cleartext {
		return refusal(flow.ReasonCleartext, "use https: the route's credential is not sent for a request in clear text")
	}
	return nil
}

// routesOf are the routes for requests to a host. Under TLS that is the
// connection's; plain HTTP names one in each request.
func (c *conn) routesOf(host string) *policy.Shortlist {
	if c.proto == protoTLS && host == c.name {
		return &c.routes
	}
	s := c.snap.Policy.Shortlist(c.question(host))
	return &s
}

// oneName holds the request's authority against the name that the connection
// was opened for. They are one name or the request is misdirected (RFC 9110
// section 7.4): what policy decided for one would be served by the other.
func (q *request) oneName() *failure {
	host, port, hasPort, err := match.SplitAuthority(q.authority)
	if err != nil {
		return refusal(flow.ReasonBadRequest, "Host: "+err.Error())
	}
	q.host = host
	if hasPort && port != q.c.flow.Original.Port() {
		return refusal(flow.ReasonAuthorityMismatch, "the port in Host is not the port connected to")
	}
	if q.c.proto == protoTLS && host != q.c.name {
		return refusal(flow.ReasonAuthorityMismatch, "SNI is "+q.c.name+", Host is "+host)
	}
	return nil
}

// identifies reports whether requests under the plan carry anything of ours: a
// credential, a client certificate, or the egress IP, which is an identity too.
func (p *Plan) identifies() bool {
	return p != nil && (!p.Inject.Empty() || p.Upstream != nil && (p.Upstream.Certificate != nil || p.Upstream.EgressIP.IsValid()))
}

// aim is an upstream that requests of a connection went to.
type aim struct {
	plan        *Plan
	route, host string
	addr        netip.Addr
	target      upstream.Target
}

// target is the upstream connection that the request needs: most need what the one
// before did.
func (q *request) target() *upstream.Target {
	a := q.c.aim.Load()
	if !a.fits(q) {
		a = &aim{q.plan, q.decision.Name, q.host, q.addr, q.c.target(q.plan, q.decision.Name, q.host, q.c.offer)}
		if q.loose() {
			a.target.Key.Addr = q.addr
		}
		q.c.aim.Store(a)
	}
	return &a.target
}

func (a *aim) fits(q *request) bool {
	return a != nil && a.plan == q.plan && a.route == q.decision.Name && a.host == q.host && a.addr == q.addr &&
		a.target.Key.Apart == q.c.apart.Load()
}

// target says which upstream connection serves requests of a route. Where
// something of ours goes along, our resolver's answer for the host is dialled
// and never the address that the workload chose; otherwise the original
// destination is, so that split-horizon names keep working: the certificate has to
// be the host's, and without one see loose.
func (c *conn) target(plan *Plan, route, host string, alpn []string) upstream.Target {
	t := upstream.Target{
		Key:       upstream.Key{Route: route, Host: host, Port: c.flow.Original.Port(), Apart: c.apart.Load()},
		Profile:   c.snap.Default,
		ALPN:      alpn,
		Cleartext: c.proto != protoTLS,
	}
	if plan != nil && plan.Upstream != nil {
		t.Profile = plan.Upstream
	}
	if !plan.identifies() {
		t.Key.Addr, t.Key.Profile = c.flow.Original.Addr(), t.Profile.ID()
		if c.proto == protoHTTP2 { // its streams may name many hosts at once, and only the address counts
			t.Key.Host = ""
		}
		return t
	}
	t.Key.Credentials, t.Key.Profile = plan.Inject.Key(), t.Profile.ID()
	if t.Cleartext {
		t.Cleartext, t.Key.Port = false, tlsPort(t.Key.Port)
	}
	return t
}

// tlsPort is where the TLS side of a cleartext service listens: a route that
// takes plain HTTP from the workload still speaks TLS upstream.
func tlsPort(port uint16) uint16 {
	if port == httpPort {
		return 443
	}
	return port
}

// connect gets the upstream connection for the request.
func (q *request) connect(ctx context.Context) *failure {
	if f := q.find(ctx); f != nil {
		return f
	}
	t := q.target()
	if dead := q.c.failed; dead.why != nil && dead.key == t.Key && q.c.requests.Load() == 0 {
		return dead.why
	}
	up, err := q.c.snap.Upstream.Get(ctx, t)
	if err != nil {
		return upstreamFailure(err)
	}
	q.up = up
	return nil
}

// connectAfresh is connect without the pool, for a retry.
func (q *request) connectAfresh(ctx context.Context) *failure {
	if f := q.find(ctx); f != nil {
		return f
	}
	up, err := q.c.snap.Upstream.Dial(ctx, q.target())
	if err != nil {
		return upstreamFailure(err)
	}
	q.up = up
	return nil
}

// authorize lets the binding invariant judge, and only then lets the plan
// write on the message, which is sealed with that. It ends with the intent in the
// trail: the credential has not left yet.
func (q *request) authorize(m inject.Message, content inject.Content) (inject.Sealed, *failure) {
	if !q.plan.identifies() {
		sealed, err := inject.Anonymous(q.up, m)
		return sealed, applyFailure(err)
	}
	permit, reason := inject.Bind(q.evidence(q.target()))
	if reason != flow.ReasonNone {
		return inject.Sealed{}, refusal(reason, "")
	}
	now := time.Now()
	sealed, applied, err := q.plan.Inject.Apply(permit, m, content, now)
	if err != nil {
		return inject.Sealed{}, applyFailure(err)
	}
	q.applied, q.said = applied, nil
	return sealed, q.intent(now)
}

// evidence gathers the facts, each from who witnessed it: the kernel, the
// workload's TLS leg, the parser, our resolver, and the upstream's TLS leg.
func (q *request) evidence(t *upstream.Target) *inject.Evidence {
	return &inject.Evidence{
		Plan:       q.plan.Inject,
		Flow:       &q.c.flow,
		Terminated: q.c.proto == protoTLS,
		ServerName: q.c.hello.ServerName,
		Method:     q.method,
		Authority:  q.authority,
		Hosts:      q.plan.Hosts,
		Cleartext:  q.plan.Cleartext,
		Key:        t.Key,
		Profile:    t.Profile,
		Upstream:   q.up.Facts(),
	}
}

// intent writes what is about to leave, before it does. It survives the death
// of the process.
func (q *request) intent(now time.Time) *failure {
	e := entries.Get().(*entry)
	defer e.release()
	e.Kind = audit.KindCredential
	q.describe(e, now)
	q.share(e)
	if err := q.c.p.o.Records.Append(&e.Record); err != nil {
		q.c.p.o.OnDefect(err)
		if !q.c.snap.BlindOK {
			return refusal(flow.ReasonAuditUnavailable, "the intent could not be written to the audit trail")
		}
	}
	q.c.p.stats.Credentialed.Add(1)
	return nil
}

// record writes the result: once per request, on every path.
func (q *request) record(f *failure) {
	q.c.p.stats.Requests.Add(1)
	q.c.requests.Add(1)
	e, now := entries.Get().(*entry), time.Now()
	defer e.release()
	e.Kind = audit.KindRequest
	q.describe(e, now)
	e.Status, e.BytesIn, e.BytesOut = q.status, q.bytesIn, q.bytesOut
	e.DurationMS = milliseconds(now.Sub(q.began))
	if f != nil {
		q.c.p.stats.Refused.Add(1)
		e.Reason = f.reason.String()
		if f.refused() {
			e.Decision = policy.Deny.String()
		}
	}
	if e.Decision == policy.Deny.String() {
		q.c.p.stats.Denied.Add(1)
	}
	if len(q.scrubbed) > 0 {
		e.Scrubbed = q.reflected()
		if f == nil {
			e.Reason = flow.ReasonSecretReflected.String()
		}
	}
	q.share(e)
	if err := q.c.p.o.Records.Append(&e.Record); err != nil {
		q.c.p.o.OnDefect(err)
	}
}

// describe fills what intent and result both say, but for what share adds.
func (q *request) describe(e *entry, now time.Time) {
	e.Time, e.Flow = now, q.c.flowID()
	e.Method, e.Path = q.method, shownPath(q.path, q.query)
	e.Decision, e.Reason = q.decision.Action.String(), q.decision.Reason.String()
	e.sign(q.applied.Signature)
}
