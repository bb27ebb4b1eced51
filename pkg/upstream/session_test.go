package upstream

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"sync/atomic"
	"testing"

	"github.com/outwarden/outwarden/pkg/flow"
)

// mutual is an origin that asks for a client certificate and counts how often a
// client proved to have one: the callback runs after CertificateVerify.
type mutual struct {
	*origin
	root   *ca
	client tls.Certificate
	proven atomic.Int32
}

func newMutual(t *testing.T, version uint16, change ...func(*tls.Config)) *mutual {
	t.Helper()
	m := &mutual{root: newCA(t, recipe{cn: "root"}, nil)}
	m.client = m.root.leaf(t, recipe{cn: "client", usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	cfg := &tls.Config{
		Certificates: []tls.Certificate{m.root.leaf(t, recipe{})},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: m.root.pool(),
		MinVersion: version, MaxVersion: version,
	}
	for _, f := range change {
		f(cfg)
	}
	m.origin = newOrigin(t, &origin{config: cfg, serve: func(c net.Conn) {
		if state := c.(*counting).Conn.(*tls.Conn).ConnectionState(); len(state.PeerCertificates) > 0 && !state.DidResume {
			m.proven.Add(1)
		}
		answerHTTP(c)
	}})
	return m
}

// with is a target that has a client certificate.
func (m *mutual) with(cert *tls.Certificate, change ...func(*Target)) Target {
	change = append([]func(*Target){func(t *Target) { t.Profile.Certificate = cert }}, change...)
	return target(m.origin, m.root.pool(), change...)
}

func versions(t *testing.T, f func(t *testing.T, version uint16)) {
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(v), func(t *testing.T) { f(t, v) })
	}
}

// TestClientCertificate is scorecard A7.
func TestClientCertificate(t *testing.T) {
	versions(t, func(t *testing.T, version uint16) {
		m := newMutual(t, version)
		c := mustGet(t, newPool(t, Options{}), m.with(&m.client))
		exchange(t, c)
		_ = c.Close()
		if m.proven.Load() != 1 || c.Facts.ClientCert != sha256.Sum256(m.client.Certificate[0]) {
			t.Errorf("proven %d times, facts say %x", m.proven.Load(), c.Facts.ClientCert)
		}
	})
}

// TestClientCertificateNeedsAVerifiedServer: a server that is not who it should
// be sees neither the certificate nor a signature of its key.
func TestClientCertificateNeedsAVerifiedServer(t *testing.T) {
	versions(t, func(t *testing.T, version uint16) {
		asked := false
		m := newMutual(t, version)
		other := newCA(t, recipe{cn: "other"}, nil)
		m.config.Certificates = []tls.Certificate{other.leaf(t, recipe{})}
		m.config.ClientAuth = tls.RequireAnyClientCert
		signer := &watchedSigner{key(t, m.client), &asked}
		cert := tls.Certificate{Certificate: m.client.Certificate, PrivateKey: signer}
		refused(t, newPool(t, Options{}), m.with(&cert), flow.ReasonUpstreamUntrusted)
		m.stop()
		if asked || m.proven.Load() != 0 || m.bytes.Load() != 0 {
			t.Errorf("key used: %v, proven %d, %d bytes", asked, m.proven.Load(), m.bytes.Load())
		}
	})
}

// TestClientCertificateForOtherCAs: where the server names CAs that ours is not
// of, nothing is presented; and without a request nothing is either.
func TestClientCertificateForOtherCAs(t *testing.T) {
	versions(t, func(t *testing.T, version uint16) {
		for name, change := range map[string]func(*tls.Config){
			"other CA hint": func(c *tls.Config) {
				c.ClientAuth, c.ClientCAs = tls.RequestClientCert, newCA(t, recipe{cn: "tenant"}, nil).pool()
			},
			"no request": func(c *tls.Config) { c.ClientAuth = tls.NoClientCert },
		} {
			m := newMutual(t, version, change)
			c := mustGet(t, newPool(t, Options{}), m.with(&m.client))
			exchange(t, c)
			_ = c.Close()
			if m.proven.Load() != 0 || c.Facts.ClientCert != [32]byte{} {
				t.Errorf("%s: proven %d times, facts say %x", name, m.proven.Load(), c.Facts.ClientCert)
			}
		}
	})
}

// TestServerMissesTheClientCertificate: TLS 1.3 tells only after our handshake,
// so the first Read has the error.
func TestServerMissesTheClientCertificate(t *testing.T) {
	m := newMutual(t, tls.VersionTLS12)
	refused(t, newPool(t, Options{}), m.with(nil), flow.ReasonUpstreamTLS)
	m = newMutual(t, tls.VersionTLS13)
	c := mustGet(t, newPool(t, Options{}), m.with(nil))
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); ReasonOf(err) != flow.ReasonUpstreamTLS {
		t.Errorf("read: %v (%v)", err, ReasonOf(err))
	}
}

// TestResumptionEndsWithTheProfile is scorecard A8: whatever changes what was
// verified, or who we are, leads to a full handshake.
func TestResumptionEndsWithTheProfile(t *testing.T) {
	changes := map[string]func(*Target){
		"same":         nil,
		"version":      func(t *Target) { t.Profile.Version = "2" },
		"profile":      func(t *Target) { t.Profile.Name = "other" },
		"route":        func(t *Target) { t.Key.Route = "other" },
		"credentials":  func(t *Target) { t.Key.Credentials = "token@2" },
		"host address": func(t *Target) { t.Key.Addr = loopback },
	}
	versions(t, func(t *testing.T, version uint16) {
		for name, change := range changes {
			m := newMutual(t, version)
			p := newPool(t, Options{})
			first := mustGet(t, p, m.with(&m.client))
			exchange(t, first)
			_ = first.Close()
			to := m.with(&m.client)
			if change != nil {
				to = m.with(&m.client, change)
			}
			second := mustGet(t, p, to)
			exchange(t, second)
			_ = second.Close()
			resumed := change == nil
			if second.Facts.Resumed != resumed || (m.resumed.Load() == 1) != resumed || (p.Stats().Resumed == 1) != resumed {
				t.Errorf("%s: resumed %v, server says %d", name, second.Facts.Resumed, m.resumed.Load())
			}
			if second.Facts.ClientCert != first.Facts.ClientCert || second.Facts.Leaf != first.Facts.Leaf {
				t.Errorf("%s: facts differ", name)
			}
		}
	})
}

func TestRetireEndsSessions(t *testing.T) {
	m := newMutual(t, tls.VersionTLS13)
	p := newPool(t, Options{})
	to := m.with(&m.client)
	busy := mustGet(t, p, to)
	p.Retire()
	exchange(t, busy) // its ticket comes too late
	_ = busy.Close()
	c := mustGet(t, p, to)
	defer c.Close()
	if c.Facts.Resumed || c == busy {
		t.Error("resumed over a reload")
	}
}

// TestNewRootsAreAsked: a session made under roots that are trusted no longer
// does not help the same upstream under the new ones.
func TestNewRootsAreAsked(t *testing.T) {
	m := newMutual(t, tls.VersionTLS13)
	p := newPool(t, Options{})
	c := mustGet(t, p, m.with(&m.client))
	exchange(t, c)
	p.Put(c)
	refused(t, p, m.with(&m.client, func(to *Target) {
		to.Profile.Version, to.Profile.Roots = "2", newCA(t, recipe{cn: "new root"}, nil).pool()
	}), flow.ReasonUpstreamUntrusted)
}

func TestSessionsAreBounded(t *testing.T) {
	var s sessions
	for i := range maxSessions + 10 {
		s.put(sessionKey{Key: Key{Host: fmt.Sprint(i)}}, session{state: new(tls.ClientSessionState)})
	}
	if len(s.m) != maxSessions {
		t.Errorf("%d sessions", len(s.m))
	}
	s.put(sessionKey{Key: Key{Host: "late"}, gen: 7}, session{state: new(tls.ClientSessionState)})
	if _, ok := s.get(sessionKey{Key: Key{Host: "late"}, gen: 7}); ok {
		t.Error("a session of another generation is kept")
	}
}

func TestManyHandshakesResume(t *testing.T) {
	m := newMutual(t, tls.VersionTLS13)
	p := newPool(t, Options{})
	const n = 20
	for range n {
		to := m.with(&m.client)
		c, err := p.Dial(context.Background(), &to)
		if err != nil {
			t.Fatal(err)
		}
		exchange(t, c)
		_ = c.Close()
	}
	if s := p.Stats(); s.Handshakes != n || s.Resumed != n-1 || m.resumed.Load() != n-1 {
		t.Errorf("stats %+v, server counts %d", s, m.resumed.Load())
	}
}
