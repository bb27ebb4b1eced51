package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/flow"
)

// Profile is the named upstream settings of a route. It is immutable once a
// Target refers to it. A nil Profile means system roots and no certificate.
type Profile struct {
	Name         string
	Roots        *x509.CertPool   // nil: the system's
	Certificate  *tls.Certificate // nil: none is ever sent
	EgressIP     netip.Addr       // source address of every dial; zero: the kernel chooses
	AllowPrivate bool             // allow loopback, private, unique local and CGNAT addresses
	Version      string           // changes when anything above changes
}

// ProfileID tells profiles apart; the zero one is that of a nil profile.
type ProfileID struct{ Name, Version string }

// ID is what Key.Profile must hold.
func (p *Profile) ID() ProfileID {
	if p == nil {
		return ProfileID{}
	}
	return ProfileID{p.Name, p.Version}
}

// Key is what makes two connections interchangeable. A pooled connection is
// only ever returned for an equal Key.
type Key struct {
	Route       string
	Host        string // canonical name or IP literal: resolved, dialled and verified
	Port        uint16
	Credentials string     // names and versions of what requests on it will carry
	Profile     ProfileID  // Profile.ID
	Addr        netip.Addr // set when the original destination is dialled
	Apart       uint64     // whose alone the connection is; zero: everybody's
}

// Target says what to connect to and how.
type Target struct {
	Key       Key
	Profile   *Profile
	ALPN      []string // offered, in order; empty: the extension is not sent. In clear text h2 alone means h2 by prior knowledge
	Cleartext bool     // no TLS: plain HTTP, or bytes that are already TLS (passthrough)
}

// serverName is the name that the certificate must be for: the host, or the
// address where the workload gave no name.
func (t *Target) serverName() string {
	if t.Key.Host == "" && t.Key.Addr.IsValid() {
		return t.Key.Addr.Unmap().WithZone("").String()
	}
	return t.Key.Host
}

func (t *Target) check() error {
	switch {
	case t.Key.Profile != t.Profile.ID():
		err := fmt.Errorf("key names profile %q, target has %q", t.Key.Profile, t.Profile.ID())
		return &Error{Reason: flow.ReasonPoolMismatch, Host: t.Key.Host, Err: err}
	case t.Key.Host == "" && !t.Key.Addr.IsValid():
		return &Error{Reason: flow.ReasonResolveFailed, Err: errNoHost}
	}
	return nil
}

// priorKnowledge reports whether HTTP/2 is spoken in clear text without asking
// (RFC 9113 section 3.3), as the workload did.
func (t *Target) priorKnowledge() bool {
	return t.Cleartext && len(t.ALPN) == 1 && t.ALPN[0] == http2.NextProtoTLS
}

func (t *Target) allowPrivate() bool { return t.Profile != nil && t.Profile.AllowPrivate }

func (t *Target) egressIP() netip.Addr {
	if t.Profile == nil {
		return netip.Addr{}
	}
	return t.Profile.EgressIP.Unmap()
}
