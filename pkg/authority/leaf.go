package authority

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"time"
)

// mintLeaf signs a leaf for one canonical name. The subject stays empty, as the
// CA/Browser Forum's rules recommend; the name is in the SAN alone, which is
// then critical (RFC 5280 section 4.2.1.6).
func (g *generation) mintLeaf(name string, now time.Time) (*tls.Certificate, error) {
	if now.After(g.cert.NotAfter) {
		return nil, ErrExpired
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	begin := now.Add(-backdate).UTC().Truncate(time.Second)
	t := &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             later(begin, g.cert.NotBefore),
		NotAfter:              earlier(begin.Add(leafLife-time.Second), g.cert.NotAfter),
		SubjectKeyId:          g.leafSKI,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		t.IPAddresses = []net.IP{ip.AsSlice()}
	} else {
		t.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, g.cert, &g.leafKey.PublicKey, g.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: g.leafKey, Leaf: leaf}, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
