package upstream

import (
	"cmp"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
)

const minRSABits = 2048

// aeadSuites are what we offer in TLS 1.2; every suite of TLS 1.3 is AEAD.
var aeadSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
}

// weakError is a chain that crypto/x509 accepts and we do not.
type weakError struct{ detail string }

func (e *weakError) Error() string { return "certificate chain: " + e.detail }

// handshake is one TLS handshake: its verification, the client certificate, and
// the sessions it may resume or leave behind.
type handshake struct {
	pool    *Pool
	profile *Profile
	session sessionKey

	resumable [32]byte // client certificate of the session that was offered for resumption
	presented [32]byte // client certificate the upstream knows us by
	weight    int      // of the upstream's chain
	auth      clientAuth
}

// handshake makes c a verified TLS connection.
func (p *Pool) handshake(ctx context.Context, t *Target, c *Conn) error {
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeouts.Handshake)
	defer cancel()
	h := &handshake{pool: p, profile: t.Profile, session: sessionKey{t.Key, c.gen}}
	conn := tls.Client(c.wire, h.config(t))
	if err := conn.HandshakeContext(ctx); err != nil {
		return h.explain(err)
	}
	cs := conn.ConnectionState()
	p.handshakes.Add(1)
	if cs.DidResume {
		p.resumed.Add(1)
	}
	c.netConn = conn
	c.Facts.ServerName = t.serverName()
	c.Facts.TLS, c.Facts.Cipher = cs.Version, cs.CipherSuite
	c.Facts.ALPN = cs.NegotiatedProtocol
	c.Facts.Leaf = sha256.Sum256(cs.PeerCertificates[0].Raw)
	c.Facts.ClientCert = h.presented
	c.Facts.Resumed = cs.DidResume
	c.auth = h.auth
	c.heavy = h.weight > maxResting
	return nil
}

func (h *handshake) config(t *Target) *tls.Config {
	cfg := &tls.Config{
		ServerName:         t.serverName(),
		MinVersion:         tls.VersionTLS12,
		CipherSuites:       aeadSuites,
		NextProtos:         t.ALPN,
		VerifyConnection:   h.verify,
		ClientSessionCache: h,
	}
	if h.profile != nil {
		cfg.RootCAs = h.profile.Roots
	}
	if cfg.RootCAs == nil && h.pool.o.Roots != nil {
		cfg.RootCAs = h.pool.o.Roots()
	}
	if h.profile != nil && h.profile.Certificate != nil {
		h.auth.certificate = h.profile.Certificate
		cfg.GetClientCertificate = h.certificate
	}
	return cfg
}

// explain tells a chain that ends in our own CA, or in one whose key is public,
// from any other untrusted one, and what is wrong with us.
func (h *handshake) explain(err error) error {
	p := h.pool
	if why := h.auth.suspicion(); why != "" && alertOf(err) != nil {
		return fmt.Errorf("%w%s", err, why)
	}
	bad, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok {
		return err
	}
	if p.own(bad.UnverifiedCertificates) {
		return fmt.Errorf("%w: %w", errOwnCA, err)
	}
	if known := p.distrusted(bad.UnverifiedCertificates); known != nil {
		return fmt.Errorf("%w: %w", known, err)
	}
	return err
}

func (p *Pool) own(chain []*x509.Certificate) bool {
	return p.o.OwnRoot != nil && p.o.OwnRoot(chain)
}

// verify runs after crypto/x509 accepted chain and name, on resumption too.
func (h *handshake) verify(cs tls.ConnectionState) error {
	if err := bounded(cs.PeerCertificates); err != nil {
		return err
	}
	h.weight = weight(cs.PeerCertificates)
	h.presented = [32]byte{}
	if cs.DidResume {
		h.presented = h.resumable
	}
	if h.pool.own(cs.PeerCertificates) || slices.ContainsFunc(cs.VerifiedChains, h.pool.own) {
		return errOwnCA
	}
	if !slices.Contains(cs.PeerCertificates[0].ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		return &weakError{"the leaf does not name the serverAuth usage"}
	}
	if err := owned(cs.PeerCertificates[0], cs.ServerName); err != nil {
		return err
	}
	err := error(&weakError{"not verified"})
	for _, chain := range cs.VerifiedChains {
		if err = cmp.Or(h.pool.distrusted(chain), strong(chain)); err == nil {
			return nil
		}
	}
	return err
}

// strong refuses weak keys and signatures. The last certificate is the trust
// anchor: its own signature proves nothing and is not looked at.
func strong(chain []*x509.Certificate) error {
	for i, cert := range chain {
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < minRSABits {
			return &weakError{fmt.Sprintf("%q has an RSA key of %d bits", cert.Subject, key.N.BitLen())}
		}
		if i < len(chain)-1 && weakSignature(cert.SignatureAlgorithm) {
			return &weakError{fmt.Sprintf("%q is signed with %v", cert.Subject, cert.SignatureAlgorithm)}
		}
	}
	return nil
}

func weakSignature(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		return true
	}
	return false
}

// certificate answers a CertificateRequest. crypto/tls comes here after verify,
// and after the server proved that it has the key of its certificate. Where the
// server names CAs and ours is none of them, an empty certificate goes out.
func (h *handshake) certificate(cri *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	cert := h.profile.Certificate
	h.auth.asked = true
	if len(cert.Certificate) == 0 || cri.SupportsCertificate(cert) != nil {
		return new(tls.Certificate), nil
	}
	h.auth.presentable = true
	h.presented = sha256.Sum256(cert.Certificate[0])
	return cert, nil
}
