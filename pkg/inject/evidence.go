package inject

import (
	"crypto/tls"
	"net/netip"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/match"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// Evidence is every fact that decides whether one request may leave as ours: with
// a credential, under a client certificate or from an egress IP. A fact that is
// not known is left zero, and then it is refused.
type Evidence struct {
	Plan *Plan // what would be injected; nil or empty: only the connection identifies us

	// Who calls, and what the request says.
	Flow       *flow.Flow // the kernel's record of the connect
	Terminated bool       // the workload's TLS ended at us
	ServerName string     // SNI, as the ClientHello has it
	Method     string     // as sent
	Authority  string     // Host or :authority, as sent

	// What the route says.
	Hosts     []match.Host      // the hosts it names
	Cleartext bool              // it allows the workload to speak plain HTTP
	Key       upstream.Key      // the connection that this request needs
	Profile   *upstream.Profile // its upstream settings; nil: none

	// The connection that the request would leave on, as observed.
	Upstream *upstream.Facts
}

// Permit says that the credentials of one Plan may be put on one request, and that
// may leave on one connection. Only
// Bind makes a valid one; the zero Permit allows nothing.
type Permit struct {
	on        *upstream.Facts // of the connection; nil: nothing is allowed
	plan      *Plan
	method    string
	authority string
}

// Bind is the binding invariant. It returns a Permit and ReasonNone if a
// credential may leave, or a zero Permit and the first condition that does not
// hold. It is pure and does not allocate where names are canonical.
func Bind(e *Evidence) (Permit, flow.Reason) {
	if e.Plan.Empty() && !identifies(e.Profile) {
		return Permit{}, flow.ReasonCredentialMissing
	}
	if reason := bindCaller(e); reason != flow.ReasonNone {
		return Permit{}, reason
	}
	host, reason := bindName(e)
	if reason != flow.ReasonNone {
		return Permit{}, reason
	}
	if reason := bindUpstream(e, host); reason != flow.ReasonNone {
		return Permit{}, reason
	}
	return Permit{e.Upstream, e.Plan, e.Method, e.Authority}, flow.ReasonNone
}

// identifies reports whether a connection by this profile is an identity in
// itself.
func identifies(p *upstream.Profile) bool {
	return p != nil && (p.Certificate != nil || p.EgressIP.IsValid())
}

// bindCaller: who asks, how it reached us, and with what method.
func bindCaller(e *Evidence) flow.Reason {
	f := e.Flow
	switch {
	case f != nil && f.Guest:
		return flow.ReasonGuest
	case f == nil, f.Cookie == 0, f.Caller.PID == 0, !f.Original.IsValid():
		return flow.ReasonNoRecord
	case Forbidden(e.Method, e.Plan.Empty()):
		return flow.ReasonMethodForbids
	case !e.Terminated && !e.Cleartext:
		return flow.ReasonCleartext
	}
	return flow.ReasonNone
}

// Forbidden reports whether requests of this method never leave as ours. CONNECT
// would lend our connection to whatever flows through the tunnel. TRACE and
// OPTIONS are answered with what was sent, so they matter where a credential is
// on the message. The comparison ignores case, for servers that do.
func Forbidden(method string, bare bool) bool {
	if method == "" || equalFold(method, "connect") {
		return true
	}
	return !bare && (equalFold(method, "trace") || equalFold(method, "options"))
}

// bindName finds the one name that SNI, authority and route agree on.
func bindName(e *Evidence) (host string, reason flow.Reason) {
	if e.Terminated && e.ServerName == "" {
		return "", flow.ReasonNoServerName
	}
	host, port, hasPort, err := match.SplitAuthority(e.Authority)
	if err != nil || hasPort && port != e.Flow.Original.Port() {
		return "", flow.ReasonAuthorityMismatch
	}
	if e.Terminated && e.ServerName != host { // which is canonical
		if sni, err := match.CanonicalHost(e.ServerName); err != nil || sni != host {
			return "", flow.ReasonAuthorityMismatch
		}
	}
	if !named(e.Hosts, host) {
		return "", flow.ReasonAuthorityMismatch
	}
	if _, literal := match.Address(host); literal {
		return "", flow.ReasonAddressNotResolved
	}
	return host, flow.ReasonNone
}

func named(hosts []match.Host, host string) bool {
	for i := range hosts {
		if hosts[i].Match(host) {
			return true
		}
	}
	return false
}

// bindUpstream: where the request would go, proven for host.
func bindUpstream(e *Evidence, host string) flow.Reason {
	u := e.Upstream
	switch {
	case u == nil, !u.Remote.IsValid(), !u.Resolved, u.Key.Addr.IsValid():
		return flow.ReasonAddressNotResolved
	case upstream.DeniedRange(u.Remote.Addr(), e.Profile != nil && e.Profile.AllowPrivate) != "":
		return flow.ReasonAddressDenied
	case u.TLS < tls.VersionTLS12, u.ServerName == "":
		return flow.ReasonUpstreamUnverified
	case u.ServerName != host:
		return flow.ReasonUpstreamName
	}
	return bindPool(e, host)
}

// bindPool: the connection was made for just what this request is.
func bindPool(e *Evidence, host string) flow.Reason {
	u := e.Upstream
	switch {
	case u.Key != e.Key, u.Key.Host != host, u.Remote.Port() != u.Key.Port:
		return flow.ReasonPoolMismatch
	case u.Key.Credentials != e.Plan.Key(), u.Key.Profile != e.Profile.ID():
		return flow.ReasonPoolMismatch
	case u.EgressIP != egressIP(e.Profile):
		return flow.ReasonPoolMismatch
	case u.ClientCert != [32]byte{} && (e.Profile == nil || e.Profile.Certificate == nil):
		return flow.ReasonPoolMismatch
	}
	return flow.ReasonNone
}

func egressIP(p *upstream.Profile) netip.Addr {
	if p == nil {
		return netip.Addr{}
	}
	return p.EgressIP.Unmap()
}

// allows reports whether the permit is for this plan and this request.
func (t Permit) allows(p *Plan, m Message) bool {
	return t.on != nil && t.plan == p && t.method == m.Method() && t.authority == m.Authority()
}
