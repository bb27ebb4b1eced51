package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/authority"
	"github.com/outwarden/outwarden/pkg/flow"
)

// TestBadUpstreamsAreRefused is the badssl list (scorecard A1, A6): each is
// refused for the right reason and gets no application byte.
func TestBadUpstreamsAreRefused(t *testing.T) {
	root := newCA(t, recipe{cn: "root"}, nil)
	other := newCA(t, recipe{cn: "other root"}, nil)
	middle := newCA(t, recipe{cn: "intermediate"}, root)
	expiredMiddle := newCA(t, recipe{cn: "expired intermediate", from: -2 * time.Hour, until: -time.Hour}, root)
	rsaRoot := newCA(t, recipe{cn: "rsa root", key: rsaKey(t, 2048)}, nil)
	smallRoot := newCA(t, recipe{cn: "small rsa root", key: rsaKey(t, 1024)}, nil)
	small, large := rsaKey(t, 1024), rsaKey(t, 2048)
	selfSigned, selfKey := issue(t, recipe{}, nil)
	good := root.leaf(t, recipe{})
	goodRSA := root.leaf(t, recipe{key: large})

	server := func(c tls.Certificate, change ...func(*tls.Config)) *tls.Config {
		cfg := &tls.Config{Certificates: []tls.Certificate{c}}
		for _, f := range change {
			f(cfg)
		}
		return cfg
	}
	suites := func(ids ...uint16) func(*tls.Config) {
		return func(c *tls.Config) { c.MaxVersion, c.CipherSuites = tls.VersionTLS12, ids }
	}
	versions := func(lowest, highest uint16) func(*tls.Config) {
		return func(c *tls.Config) { c.MinVersion, c.MaxVersion = lowest, highest }
	}
	tests := []struct {
		name   string
		config *tls.Config
		roots  *x509.CertPool
		want   flow.Reason
	}{
		{"expired", server(root.leaf(t, recipe{from: -2 * time.Hour, until: -time.Hour})), root.pool(), flow.ReasonUpstreamExpired},
		{"not yet valid", server(root.leaf(t, recipe{from: time.Hour, until: 2 * time.Hour})), root.pool(), flow.ReasonUpstreamExpired},
		{"wrong host", server(root.leaf(t, recipe{names: []string{"wrong.test"}})), root.pool(), flow.ReasonUpstreamName},
		{"parent's wildcard", server(root.leaf(t, recipe{names: []string{"*.test"}})), root.pool(), flow.ReasonUpstreamName},
		{"wildcard below", server(root.leaf(t, recipe{names: []string{"*.api.partner.test"}})), root.pool(), flow.ReasonUpstreamName},
		{"address only", server(root.leaf(t, recipe{addr: net.IPv4(127, 0, 0, 1)})), root.pool(), flow.ReasonUpstreamName},
		{"common name only", server(root.leaf(t, recipe{cn: testHost, names: []string{}})), root.pool(), flow.ReasonUpstreamName},
		{"self-signed", server(tls.Certificate{Certificate: [][]byte{selfSigned}, PrivateKey: selfKey}), root.pool(), flow.ReasonUpstreamUntrusted},
		{"untrusted root", server(other.leaf(t, recipe{})), root.pool(), flow.ReasonUpstreamUntrusted},
		{"untrusted root, sent along", server(other.leaf(t, recipe{}, other)), root.pool(), flow.ReasonUpstreamUntrusted},
		{"private root, system store", server(good), nil, flow.ReasonUpstreamUntrusted},
		{"missing intermediate", server(middle.leaf(t, recipe{})), root.pool(), flow.ReasonUpstreamUntrusted},
		{"expired intermediate", server(expiredMiddle.leaf(t, recipe{}, expiredMiddle)), root.pool(), flow.ReasonUpstreamExpired},
		{"leaf as issuer", server((&ca{parse(t, good), key(t, good)}).leaf(t, recipe{}, &ca{cert: parse(t, good)})), root.pool(), flow.ReasonUpstreamUntrusted},
		{"SHA-1 signature", server(rsaRoot.leaf(t, recipe{signature: x509.SHA1WithRSA})), rsaRoot.pool(), flow.ReasonUpstreamUntrusted},
		{"ECDSA with SHA-1", server(root.leaf(t, recipe{signature: x509.ECDSAWithSHA1})), root.pool(), flow.ReasonUpstreamUntrusted},
		{"RSA-1024 leaf", server(root.leaf(t, recipe{key: small})), root.pool(), flow.ReasonUpstreamUntrusted},
		{"RSA-1024 root", server(smallRoot.leaf(t, recipe{})), smallRoot.pool(), flow.ReasonUpstreamUntrusted},
		{"client usage only", server(root.leaf(t, recipe{usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})), root.pool(), flow.ReasonUpstreamUntrusted},
		{"no usage named", server(root.leaf(t, recipe{noUsage: true})), root.pool(), flow.ReasonUpstreamUntrusted},
		{"TLS 1.0 only", server(good, versions(tls.VersionTLS10, tls.VersionTLS10)), root.pool(), flow.ReasonUpstreamTLS},
		{"TLS 1.1 only", server(good, versions(tls.VersionTLS10, tls.VersionTLS11)), root.pool(), flow.ReasonUpstreamTLS},
		{"RSA key exchange only", server(goodRSA, suites(tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384)), root.pool(), flow.ReasonUpstreamTLS},
		{"RC4 only", server(goodRSA, suites(tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_RC4_128_SHA)), root.pool(), flow.ReasonUpstreamTLS},
		{"3DES only", server(goodRSA, suites(tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA)), root.pool(), flow.ReasonUpstreamTLS},
		{"CBC only", server(goodRSA, suites(tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256)), root.pool(), flow.ReasonUpstreamTLS},
		{"no common ALPN", server(good, func(c *tls.Config) { c.NextProtos = []string{"other"} }), root.pool(), flow.ReasonUpstreamTLS},
		{"not TLS at all", nil, root.pool(), flow.ReasonUpstreamTLS},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := &origin{config: tt.config}
			if tt.config == nil {
				o.serve = func(c net.Conn) { _, _ = c.Write([]byte("220 smtp.partner.test ready\r\n")) }
			}
			newOrigin(t, o)
			p := newPool(t, Options{})
			refused(t, p, target(o, tt.roots, func(t *Target) { t.ALPN = []string{"http/1.1"} }), tt.want)
			if s := p.Stats(); s.Idle != 0 || s.Handshakes != 0 || s.Failures != 1 {
				t.Errorf("stats %+v", s)
			}
			o.stop()
			if n := o.bytes.Load(); n != 0 || o.conns.Load() != 1 {
				t.Errorf("%d application bytes over %d connections", n, o.conns.Load())
			}
		})
	}
}

func parse(t *testing.T, c tls.Certificate) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestGoodUpstreamsAreAccepted(t *testing.T) {
	root := newCA(t, recipe{cn: "root"}, nil)
	middle := newCA(t, recipe{cn: "intermediate"}, root)
	rsaRoot := newCA(t, recipe{cn: "rsa root", key: rsaKey(t, 2048)}, nil)
	oldRoot := newCA(t, recipe{cn: "sha-1 root", key: rsaKey(t, 2048), signature: x509.SHA1WithRSA}, nil)
	tests := []struct {
		name string
		cert tls.Certificate
		max  uint16
		root *ca
	}{
		{"TLS 1.3", root.leaf(t, recipe{}), 0, root},
		{"TLS 1.2", root.leaf(t, recipe{}), tls.VersionTLS12, root},
		{"RSA over TLS 1.2", rsaRoot.leaf(t, recipe{key: rsaKey(t, 2048)}), tls.VersionTLS12, rsaRoot},
		{"intermediate", middle.leaf(t, recipe{}, middle), 0, root},
		{"wildcard", root.leaf(t, recipe{names: []string{"*.partner.test"}}), 0, root},
		{"root signed with SHA-1 by itself", oldRoot.leaf(t, recipe{}), 0, oldRoot},
		{"several usages", root.leaf(t, recipe{usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}), 0, root},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOrigin(t, &origin{config: &tls.Config{Certificates: []tls.Certificate{tt.cert}, MaxVersion: tt.max}})
			c := mustGet(t, newPool(t, Options{}), target(o, tt.root.pool()))
			defer c.Close()
			if got := exchange(t, c); got != okResponse {
				t.Errorf("got %q", got)
			}
			f := &c.Facts
			if !f.Verified() || f.ServerName != testHost || !f.Resolved || f.Remote != o.addr || f.TLS < tls.VersionTLS12 || f.Leaf == [32]byte{} || f.ClientCert != [32]byte{} {
				t.Errorf("facts %+v", f)
			}
		})
	}
}

// TestOwnAuthorityIsRefused: a leaf of this host's interceptor is never taken for
// an upstream's, whatever the trust store says (scorecard A4).
func TestOwnAuthorityIsRefused(t *testing.T) {
	a, err := authority.Open(filepath.Join(t.TempDir(), "ca"), authority.Options{})
	if err != nil {
		t.Fatal(err)
	}
	before, err := a.Certificate(testHost)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(a.Root())
	if err := a.Rotate(); err != nil {
		t.Fatal(err)
	}
	now, err := a.Certificate(testHost)
	if err != nil {
		t.Fatal(err)
	}
	trusted.AddCert(a.Root())
	unrelated := newCA(t, recipe{cn: "root"}, nil)

	tests := []struct {
		name  string
		leaf  *tls.Certificate
		roots *x509.CertPool
	}{
		{"present root in the store", now, trusted},
		{"previous root in the store", before, trusted},
		{"present root, not in the store", now, unrelated.pool()},
		{"previous root, not in the store", before, unrelated.pool()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOrigin(t, &origin{config: &tls.Config{Certificates: []tls.Certificate{*tt.leaf}}})
			refused(t, newPool(t, Options{OwnRoot: a.Issued}), target(o, tt.roots), flow.ReasonUpstreamOwnCA)
			o.stop()
			if n := o.bytes.Load(); n != 0 {
				t.Errorf("%d application bytes", n)
			}
		})
	}
}

// TestOwnAuthorityIsRefusedOnResumption: what became ours after the session was
// made is refused too.
func TestOwnAuthorityIsRefusedOnResumption(t *testing.T) {
	root := newCA(t, recipe{cn: "root"}, nil)
	o := newOrigin(t, &origin{config: &tls.Config{Certificates: []tls.Certificate{root.leaf(t, recipe{})}}})
	own := false
	p := newPool(t, Options{OwnRoot: func([]*x509.Certificate) bool { return own }})
	to := target(o, root.pool())
	c := mustGet(t, p, to)
	exchange(t, c)
	_ = c.Close()
	own = true
	if _, err := p.Dial(context.Background(), &to); ReasonOf(err) != flow.ReasonUpstreamOwnCA {
		t.Errorf("got %v", err)
	}
}

func TestWeakChainsBeyondX509(t *testing.T) {
	for _, a := range []x509.SignatureAlgorithm{x509.MD5WithRSA, x509.MD2WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1} {
		leaf, anchor := &x509.Certificate{SignatureAlgorithm: a}, &x509.Certificate{SignatureAlgorithm: a}
		if strong([]*x509.Certificate{leaf, anchor}) == nil {
			t.Errorf("%v is accepted on a leaf", a)
		}
		if err := strong([]*x509.Certificate{{SignatureAlgorithm: x509.SHA256WithRSA}, anchor}); err != nil {
			t.Errorf("%v on a trust anchor: %v", a, err)
		}
	}
}
