package authority

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"sync"
)

// Issued reports whether any certificate of a chain was signed by, or is, a
// local root of now or before. An upstream that presents such a chain is a
// local interceptor, not the API.
func (a *Authority) Issued(chain []*x509.Certificate) bool {
	g := a.now.Load()
	for _, cert := range chain {
		if g.issued(cert) {
			return true
		}
	}
	return false
}

// issued looks a certificate up, or tries every root on it: that costs as much as
// to verify the chain does, and the same certificates come again, above all those
// of the CAs.
func (g *generation) issued(cert *x509.Certificate) bool {
	sum := sha256.Sum256(cert.Raw)
	if ours, known := g.verdicts.get(sum); known {
		return ours
	}
	ours := false
	for _, r := range g.known {
		ours = ours || signedBy(cert, r)
	}
	g.verdicts.put(sum, ours)
	return ours
}

// signedBy looks at keys and signatures only: names can be anything.
func signedBy(cert, r *x509.Certificate) bool {
	if bytes.Equal(cert.RawSubjectPublicKeyInfo, r.RawSubjectPublicKeyInfo) {
		return true
	}
	return r.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil
}

// verdicts remembers whether certificates, by the SHA-256 of the whole, are of one
// generation's roots. The zero value is empty.
type verdicts struct {
	mu sync.RWMutex
	of map[[sha256.Size]byte]bool
}

// maxVerdicts bounds what is remembered. Upstreams say what there is to remember,
// so when it is full it begins anew.
const maxVerdicts = 4096

func (v *verdicts) get(sum [sha256.Size]byte) (ours, known bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	ours, known = v.of[sum]
	return ours, known
}

func (v *verdicts) put(sum [sha256.Size]byte, ours bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.of == nil || len(v.of) >= maxVerdicts {
		v.of = make(map[[sha256.Size]byte]bool)
	}
	v.of[sum] = ours
}
