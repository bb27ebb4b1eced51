package proxy_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"runtime"
	"slices"
	"testing"
)

// allowance is what judging one hostile chain, or moving one compressed body, may
// allocate in all, the origin and the workload of the test included.
const allowance = 64 << 20

// TestOversizedChains is scorecard H6: what an upstream can send to be verified
// is bounded by size, by the length of keys, and by the number of signatures and
// constraints that are looked at.
func TestOversizedChains(t *testing.T) {
	huge := &fakeRSA{rsa.PublicKey{N: new(big.Int).SetBit(newRSA(t, 2048).N, 16383, 1), E: 65537}}
	many := func(n int) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			for i := range n {
				c.DNSNames = append(c.DNSNames, fmt.Sprintf("h%d.example.com", i))
			}
		}
	}
	constraints := func(c *x509.Certificate) {
		for i := range 5000 {
			c.PermittedDNSDomains = append(c.PermittedDNSDomains, fmt.Sprintf("d%d.test", i))
		}
		c.PermittedDNSDomains = append(c.PermittedDNSDomains, "example.com")
	}
	for _, tt := range []struct {
		name   string
		links  []link
		reason []string // one of; "" is accepted
	}{
		{"1,000 names", usual(3, template(many(1000))), []string{""}},
		{"10,000 names", usual(3, template(many(10_000))), []string{"upstream_untrusted", "upstream_tls"}},
		{"200,000 names", usual(3, template(many(200_000))), []string{"upstream_tls"}},
		{"16k-bit RSA leaf", usual(3, func(l *link) { l.key = huge }), []string{"upstream_tls"}},
		{"16k-bit RSA intermediate", []link{{}, {}, {key: huge}, {signer: newKey(t)}}, []string{"upstream_tls"}},
		{"chain of 40", make([]link, 40), []string{""}},
		{"chain of 400", make([]link, 400), []string{"upstream_untrusted", "upstream_tls"}},
		{"5,000 constraints", usual(2, template(constraints)), []string{""}},
		{"5,000 constraints, 5,000 names", []link{{}, {}, {change: constraints}, {change: many(5000)}}, []string{"", "upstream_untrusted"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newChains(t)
			chain, roots := (&chainCase{links: tt.links}).make(t)
			c.shown.Store(chain)
			c.trust(roots)
			var reason string
			if n := allocated(func() { reason = c.through(host) }); n > allowance {
				t.Errorf("%d MiB allocated", n>>20)
			}
			if !slices.Contains(tt.reason, reason) {
				t.Errorf("reason %q, want one of %q", reason, tt.reason)
			}
		})
	}
}

// TestManyPaths: intermediates that all sign each other are no maze.
func TestManyPaths(t *testing.T) {
	const mazes = 40
	c := newChains(t)
	keys := make([]crypto.Signer, mazes)
	certs := make([]*x509.Certificate, mazes)
	for i := range keys {
		keys[i] = newKey(t)
		certs[i] = usualTemplate(0, 2)
		certs[i].Subject = pkix.Name{CommonName: fmt.Sprint("maze ", i%4)}
	}
	leaf, leafKey := usualTemplate(1, 2), newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, leaf, certs[0], leafKey.Public(), keys[0])
	must(t, err)
	chain := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: leafKey}
	for i := range keys {
		for j := range 10 {
			signer := (i + j + 1) % mazes
			der, err := x509.CreateCertificate(rand.Reader, certs[i], certs[signer], keys[i].Public(), keys[signer])
			must(t, err)
			chain.Certificate = append(chain.Certificate, der)
		}
	}
	c.shown.Store(chain)
	var reason string
	if n := allocated(func() { reason = c.through(host) }); n > allowance || reason != "upstream_untrusted" {
		t.Errorf("%d MiB allocated, reason %q", n>>20, reason)
	}
}

// fakeRSA has a public key and nothing behind it.
type fakeRSA struct{ public rsa.PublicKey }

func (f *fakeRSA) Public() crypto.PublicKey { return &f.public }

func (f *fakeRSA) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return make([]byte, f.public.Size()), nil
}

// allocated is how many bytes f allocates, in all goroutines.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
