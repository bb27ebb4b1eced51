package proxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/policy"
)

// signedIn are the client certificates that an origin saw proven: crypto/tls shows
// them only once the CertificateVerify behind them holds.
type signedIn struct {
	mu   sync.Mutex
	list []string
}

func (s *signedIn) note(certs []*x509.Certificate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := "none"
	if len(certs) > 0 {
		name = certs[0].DNSNames[0]
	}
	s.list = append(s.list, name)
}

func (s *signedIn) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.list = nil }()
	return s.list
}

// TestClientCertificatesGoHome is A7 through the whole of us: a route's client
// certificate is proven to its own host, verified before, and to nobody else; one
// that does not ask, or asks for certificates of another CA, gets none, and never
// that of the other route, over both versions.
func TestClientCertificatesGoHome(t *testing.T) {
	const second = "second.example.com"
	for _, alpn := range versions {
		for name, c := range map[string]struct {
			host   string
			auth   tls.ClientAuthType
			hint   string // whose CA the origin names; "": nobody's
			good   bool   // its certificate is
			proven []string
		}{
			"own host":               {host, tls.RequestClientCert, "", true, []string{"first"}},
			"own host, own CA":       {host, tls.RequestClientCert, "first", true, []string{"first"}},
			"the other":              {second, tls.RequestClientCert, "", true, []string{"second"}},
			"not asked":              {host, tls.NoClientCert, "", true, []string{"none"}},
			"another tenant's CA":    {host, tls.RequestClientCert, "second", true, []string{"none"}},
			"another tenant's CA, 2": {second, tls.RequestClientCert, "first", true, []string{"none"}},
			"not verified":           {host, tls.RequestClientCert, "", false, nil},
		} {
			t.Run(fmt.Sprint(name, " ", alpn), func(t *testing.T) {
				w := newWorld(t)
				clients := map[string]*partnerCA{"first": newNamedCA(t, "first root"), "second": newNamedCA(t, "second root")}
				server := w.partner
				if !c.good {
					server = newPartnerCA(t)
				}
				var proven signedIn
				config := &tls.Config{
					Certificates: []tls.Certificate{server.leaf(t, []string{c.host})}, ClientAuth: c.auth, NextProtos: []string{alpn},
					VerifyConnection: func(s tls.ConnectionState) error { proven.note(s.PeerCertificates); return nil },
				}
				if c.hint != "" {
					config.ClientCAs = clients[c.hint].pool()
				}
				w.names[c.host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
				o := newTLSOrigin(t, config, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "ok") }))
				w.use(policy.Intercept, w.mtlsRoute("first", host, clients["first"]), w.mtlsRoute("second", second, clients["second"]))
				for range 2 { // the second may be resumed or pooled
					_, _ = w.roundTrip(o, c.host, alpn)
				}
				got := proven.take()
				for _, p := range got {
					if !slices.Contains(c.proven, p) {
						t.Errorf("proven %q, want %q", got, c.proven)
					}
				}
				if len(got) == 0 && c.good {
					t.Error("nobody came")
				}
			})
		}
	}
}

// TestClientCertificateRefused: what an upstream has against a client certificate is
// said, over both versions of TLS and of HTTP.
func TestClientCertificateRefused(t *testing.T) {
	named, other := newNamedCA(t, "named"), newNamedCA(t, "in between")
	client := func(ca *partnerCA, until time.Duration) *tls.Certificate {
		cert := ca.leaf(t, nil, func(c *x509.Certificate) {
			c.ExtKeyUsage, c.NotAfter = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, time.Now().Add(until)
		})
		var err error
		cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0])
		must(t, err)
		return &cert
	}
	for name, c := range map[string]struct {
		cert *tls.Certificate
		says string
	}{
		"none":            {nil, "tls: "},
		"issuer not sent": {client(other, time.Hour), "the client certificate was not sent: the upstream names authorities"},
		"expired":         {client(named, -time.Minute), "the client certificate has expired"},
		"good":            {client(named, time.Hour), ""},
	} {
		for _, alpn := range versions {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				t.Run(fmt.Sprint(name, " ", alpn, " ", tls.VersionName(version)), func(t *testing.T) {
					w := newWorld(t)
					w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
					o := newTLSOrigin(t, &tls.Config{
						Certificates: []tls.Certificate{w.partner.leaf(t, []string{host})}, NextProtos: []string{alpn}, MaxVersion: version,
						ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: named.pool(),
					}, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "ok") }))
					r := w.mtlsRoute("first", host, named)
					r.plan.Upstream.Certificate = c.cert
					w.use(policy.Intercept, r)
					got, err := w.roundTrip(o, host, alpn)
					if c.says == "" {
						if got != "ok" || err != nil {
							t.Errorf("%q, %v", got, err)
						}
						return
					}
					if err != nil || !strings.Contains(got, "upstream_tls") || !strings.Contains(got, c.says) {
						t.Errorf("%q, %v; want %q", got, err, c.says)
					}
				})
			}
		}
	}
}

func (w *world) mtlsRoute(name, to string, ca *partnerCA) rule {
	leaf := ca.leaf(w.t, []string{name}, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	return w.partnerRoute(func(r *rule) {
		p := w.profile(name)
		p.Certificate = &leaf
		r.route.Name, r.route.To = name, policy.To{Hosts: hosts(w.t, to)}
		r.plan.Inject, r.plan.Upstream = nil, p
	})
}

// roundTrip makes one request on a connection of its own; it may fail.
func (w *world) roundTrip(o *origin, to, alpn string) (string, error) {
	c, err := w.tryTLS(as{original: o.addr}, to, alpn)
	if err != nil {
		return "", err
	}
	defer c.Close()
	res, err := w.roundTripper(c).RoundTrip(mustRequest(w.t, "GET", "https://"+to+"/", nil))
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	return string(all), err
}
