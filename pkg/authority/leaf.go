package authority

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"time"
)

// mintLeaf signs a leaf for one canonical name. The subject stays empty, as the
// CA/Browser Forum's rules recommend; the name is in the SAN alone.
func (g *generation) mintLeaf(name string, now time.Time) (*tls.Certificate, error) {
	if now.After(g.cert.NotAfter) {
		return nil, ErrExpired
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	begin := now.Add(-backdate).UTC().Truncate(time.Second)
	der, err := g.sign(&leaf{
		serial: serial,
		begin:  later(begin, g.cert.NotBefore),
		end:    earlier(begin.Add(leafLife-time.Second), g.cert.NotAfter),
		name:   name,
	})
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: g.leafKey, Leaf: parsed}, nil
}

// sign makes a certificate of l.
func (g *generation) sign(l *leaf) ([]byte, error) {
	g.once.Do(func() { g.pattern, g.flaw = g.newPattern() })
	if g.flaw != nil {
		return nil, g.flaw
	}
	tbs, err := g.pattern.encode(l)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(tbs)
	signature, err := g.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return g.pattern.seal(tbs, signature)
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
