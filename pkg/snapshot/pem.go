package snapshot

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"github.com/outwarden/outwarden/pkg/config"
)

// pemError says what is wrong with a certificate or a key, and never quotes it.
type pemError struct{ problem, advice string }

func (e *pemError) Error() string { return e.problem }

// Hint is what the person at the keyboard can do about it.
func (e *pemError) Hint() string { return e.advice }

// named is how errors call a certificate or a key.
func named(m config.Material) string {
	if m.Secret != "" {
		return fmt.Sprintf("secret %q", m.Secret)
	}
	return m.File
}

// withoutMark cuts off the mark that editors of Windows put before UTF-8: encoding/pem
// would pass over the first block for it.
func withoutMark(b []byte) []byte { return bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")) }

// certificates reads all of a file, in its order. The error is of the first that cannot
// be read; those that can are there beside it.
func certificates(m config.Material, b []byte) (out []*x509.Certificate, flaw error) {
	begun := bytes.Count(b, []byte("-----BEGIN CERTIFICATE-----"))
	ended := 0
	for rest := withoutMark(b); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		ended++
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			flaw = cmp.Or(flaw, error(&pemError{fmt.Sprintf("certificate %d in %s cannot be read: %v", ended, named(m), err), "openssl x509 -noout -text shows what is in one"}))
			continue
		}
		out = append(out, cert)
	}
	switch {
	case ended < begun:
		flaw = &pemError{fmt.Sprintf("of %d certificates that begin in %s %d are whole", begun, named(m), ended), "is it just being written, or cut off?"}
	case ended == 0:
		flaw = noPEM(m, b, "certificate", "x509")
	}
	return out, flaw
}

// roots is what an upstream is verified against. One that cannot be read is left out, as
// who needs it is refused, and a bundle may have what Go does not take.
func (b *builder) roots(r *config.Route) (*x509.CertPool, []byte, error) {
	m := r.Upstream.CA
	content, err := b.material(m)
	if err != nil {
		return nil, nil, err
	}
	list, flaw := certificates(m, content.Reveal())
	if len(list) == 0 {
		return nil, nil, flaw
	}
	if flaw != nil {
		b.warn(r, "upstream.ca: "+flaw.Error())
	}
	pool := x509.NewCertPool()
	for _, root := range list {
		pool.AddCert(root)
	}
	return pool, content.Reveal(), nil
}

func (b *builder) warn(r *config.Route, text string) {
	b.readings.warnings = append(b.readings.warnings, fmt.Sprintf("%s: route %q: %s", r.Position, r.Name, text))
}

// noPEM says that there is nothing of a kind, and how to get it from what there may be.
func noPEM(m config.Material, b []byte, kind, command string) error {
	const sequence = 0x30 // how every certificate and key begins in DER
	if len(b) > 0 && b[0] == sequence {
		return &pemError{fmt.Sprintf("%s is not PEM; it may be DER", named(m)), "openssl " + command + " -inform DER -in FILE -out FILE.pem"}
	}
	return &pemError{fmt.Sprintf("%s holds no %s in PEM", named(m), kind), "it begins with -----BEGIN; is it the file that was meant, and whole?"}
}

// readable says why a key cannot be read, where it is not crypto/tls that does best.
func readable(m config.Material, b []byte) error {
	for rest := b; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return noPEM(m, b, "private key", "pkey")
		}
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return &pemError{"the private key in " + named(m) + " is encrypted", "nobody is there to type its passphrase: openssl pkey -in FILE -out NEW; chmod 0600 NEW"}
		}
		return nil
	}
}

// keyPair is the client certificate of a route, with what the file has of its chain.
func (b *builder) keyPair(r *config.Route) (*tls.Certificate, error) {
	u := &r.Upstream
	public, err := b.material(u.Certificate)
	if err != nil {
		return nil, err
	}
	private, err := b.material(u.Key)
	if err != nil {
		return nil, err
	}
	chain, flaw := certificates(u.Certificate, public.Reveal())
	if flaw != nil {
		return nil, flaw
	}
	key := withoutMark(private.Reveal())
	if err := readable(u.Key, key); err != nil {
		return nil, err
	}
	return b.pair(r, chain, key)
}

// pair puts both together.
func (b *builder) pair(r *config.Route, chain []*x509.Certificate, key []byte) (*tls.Certificate, error) {
	u := &r.Upstream
	pair, err := tls.X509KeyPair(encoded(chain[0]), key)
	if err != nil {
		return nil, unpaired(u, chain, key, err)
	}
	for _, issuer := range chain[1:] {
		pair.Certificate = append(pair.Certificate, issuer.Raw)
	}
	if leaf, now := chain[0], time.Now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		b.warn(r, fmt.Sprintf("the client certificate in %s is valid from %s to %s alone", named(u.Certificate),
			leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339)))
	}
	return &pair, nil
}

// unpaired says why the first certificate and the key do not go together.
func unpaired(u *config.Upstream, chain []*x509.Certificate, key []byte, err error) error {
	for i, other := range chain {
		if _, e := tls.X509KeyPair(encoded(other), key); e == nil {
			return &pemError{fmt.Sprintf("the key in %s belongs to certificate %d in %s, and not to the first", named(u.Key), i+1, named(u.Certificate)),
				"put the client's own certificate first, and each issuer behind what it issued"}
		}
	}
	return &pemError{fmt.Sprintf("certificate in %s and key in %s: %v", named(u.Certificate), named(u.Key), err),
		"if they are just being replaced, all is well once both are"}
}

func encoded(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}
