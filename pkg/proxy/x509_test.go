package proxy_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"
)

// TestChainsAsGoJudgesThem is scorecard A3: a generator of our own (x509-limbo
// cannot be had as a Go module) makes chains with one thing wrong at each place,
// and none is accepted that crypto/x509 refuses. Where we are stricter it says so.
func TestChainsAsGoJudgesThem(t *testing.T) {
	c := newChains(t)
	cases := slices.Concat(anywhere(), authorities(), leaves(t), keys(t), orders(), damaged())
	tally := map[string]int{}
	for _, tt := range cases {
		chain, roots := tt.make(t)
		c.shown.Store(chain)
		c.trust(roots)
		direct, reason := c.direct(host, roots), c.through(host)
		tally[fmt.Sprintf("Go %v, we %v", direct == nil, reason == "")]++
		switch {
		case direct != nil && reason == "":
			t.Errorf("%s: accepted; crypto/x509 says %v", tt.name, direct)
		case tt.want == stricter && (direct != nil || reason == ""):
			t.Errorf("%s: directly %v, through us %q; want it refused by us alone", tt.name, direct, reason)
		case tt.want != stricter && direct == nil && reason != "":
			t.Errorf("%s: refused with %s, which crypto/x509 accepts", tt.name, reason)
		case tt.want == good && direct != nil, tt.want == bad && direct == nil:
			t.Errorf("%s: the case is not what it should be: %v", tt.name, direct)
		}
	}
	t.Logf("%d chains: %v", len(cases), tally)
}

// anywhere are defects of the root, of either intermediate, and of the leaf.
func anywhere() (cases []chainCase) {
	now := time.Now()
	for name, f := range map[string]func(*x509.Certificate){
		"expired":       func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(-2*time.Hour), now.Add(-time.Minute) },
		"not yet valid": func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(time.Minute), now.Add(time.Hour) },
		"unknown critical": func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		},
		"unknown": func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}}}
		},
		"ends before begins": func(c *x509.Certificate) { c.NotBefore, c.NotAfter = c.NotAfter, c.NotBefore },
		"client usage":       func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} },
		"code signing usage": func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} },
		"unknown usage": func(c *x509.Certificate) {
			c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{{1, 2, 3}}
		},
		"long serial": func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 150) },
	} {
		for at := range 4 {
			cases = append(cases, chainCase{name: fmt.Sprintf("%s at %d", name, at), links: usual(at, template(f))})
		}
	}
	return cases
}

// authorities are defects of what signs.
func authorities() (cases []chainCase) {
	for name, f := range map[string]func(*x509.Certificate){
		"no CA":                func(c *x509.Certificate) { c.IsCA = false },
		"no basic constraints": func(c *x509.Certificate) { c.BasicConstraintsValid = false },
		"path length 0":        func(c *x509.Certificate) { c.MaxPathLenZero = true },
		"path length 1":        func(c *x509.Certificate) { c.MaxPathLen = 1 },
		"may not sign":         func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature },
		"may sign CRLs alone":  func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign },
		"any usage":            func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} },
		"other name permitted": func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example.org"} },
		"name permitted":       func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example.com"} },
		"name below permitted": func(c *x509.Certificate) { c.PermittedDNSDomains = []string{".api.example.com"} },
		"name excluded":        func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{host} },
		"parent excluded":      func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"com"} },
		"everything excluded":  func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{""} },
		"address permitted": func(c *x509.Certificate) {
			c.PermittedIPRanges = []*net.IPNet{{IP: net.IP{10, 0, 0, 0}, Mask: net.CIDRMask(8, 32)}}
		},
		"mail permitted": func(c *x509.Certificate) { c.PermittedEmailAddresses = []string{"example.com"} },
		"constraints not critical": func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = false, []string{"example.org"}
		},
	} {
		for at := range 3 {
			cases = append(cases, chainCase{name: fmt.Sprintf("%s at %d", name, at), links: usual(at, template(f))})
		}
	}
	return cases
}

// leaves are names and usages of the leaf.
func leaves(t testing.TB) (cases []chainCase) {
	add := func(name string, want verdict, f func(*x509.Certificate)) {
		cases = append(cases, chainCase{name: name, links: usual(3, template(f)), want: want})
	}
	for name, want := range map[string]verdict{
		host: good, "API.EXAMPLE.COM": good, "*.example.com": good, host + ".": asGo, "*.EXAMPLE.com": good,
		"*": bad, "*.com": bad, "*.*.com": bad, "a*.example.com": bad, "*i.example.com": bad, "api.*.com": bad, "*.api.example.com": bad,
		"example.com": bad, ".example.com": bad, "api.example.com.evil.test": bad, "evil-api.example.com": bad, "*.example.com.": asGo,
	} {
		add("name "+name, want, func(c *x509.Certificate) { c.DNSNames = []string{name} })
	}
	add("several names", good, func(c *x509.Certificate) { c.DNSNames = []string{"a.test", "*.b.test", host} })
	add("name in CN alone", bad, func(c *x509.Certificate) { c.DNSNames, c.Subject.CommonName = nil, host })
	add("name as mail", bad, func(c *x509.Certificate) { c.DNSNames, c.EmailAddresses = nil, []string{host} })
	add("two name extensions", bad, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{sanOf(t, "a.test"), sanOf(t, host)}
	})
	add("NUL in the name", bad, func(c *x509.Certificate) {
		c.DNSNames, c.ExtraExtensions = nil, []pkix.Extension{sanOf(t, host+"\x00.test")}
	})
	add("a space in the name", bad, func(c *x509.Certificate) { c.DNSNames, c.ExtraExtensions = nil, []pkix.Extension{sanOf(t, " "+host)} })
	add("no usage", stricter, func(c *x509.Certificate) { c.ExtKeyUsage = nil })
	add("any usage", stricter, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} })
	add("two usages", good, func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	})
	add("a leaf that is a CA", asGo, func(c *x509.Certificate) { c.IsCA = true })
	add("key agreement alone", asGo, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement })
	add("serial 0", asGo, func(c *x509.Certificate) { c.SerialNumber = new(big.Int) })
	return cases
}

func sanOf(t testing.TB, name string) pkix.Extension {
	value, err := asn1.Marshal([]asn1.RawValue{{Tag: 2, Class: asn1.ClassContextSpecific, Bytes: []byte(name)}})
	must(t, err)
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}
}

// keys are kinds of keys and signatures at each place.
func keys(t testing.TB) (cases []chainCase) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	must(t, err)
	small, large := newRSA(t, 1024), newRSA(t, 2048)
	for at := range 4 {
		add := func(name string, want verdict, f func(*link)) {
			cases = append(cases, chainCase{name: fmt.Sprintf("%s at %d", name, at), links: usual(at, f), want: want})
		}
		add("Ed25519", good, func(l *link) { l.key = ed })
		add("P-521", good, func(l *link) { l.key = p521 })
		add("RSA 2048", good, func(l *link) { l.key = large })
		add("RSA 1024", stricter, func(l *link) { l.key = small })
		if at > 0 {
			add("ECDSA with SHA-1", bad, template(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }))
			add("signed by a stranger", bad, func(l *link) { l.signer = newKey(t) })
		}
	}
	return cases
}

func newRSA(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	must(t, err)
	return key
}

// orders are ways to send the intermediates.
func orders() []chainCase {
	all := func(order func([][]byte) [][]byte, name string, want verdict) chainCase {
		return chainCase{name: name, links: usual(0, nil), order: order, want: want}
	}
	return []chainCase{
		all(nil, "in order", good),
		all(func(d [][]byte) [][]byte { slices.Reverse(d); return d }, "in reverse", good),
		all(func(d [][]byte) [][]byte { return slices.Concat(d, d, d) }, "each three times", good),
		all(func(d [][]byte) [][]byte { return d[:1] }, "the upper intermediate missing", bad),
		all(func(d [][]byte) [][]byte { return d[1:] }, "the lower intermediate missing", bad),
		all(func([][]byte) [][]byte { return nil }, "the leaf alone", bad),
		all(func(d [][]byte) [][]byte { return append(d, []byte("no certificate")) }, "and something else", bad),
		all(func(d [][]byte) [][]byte { return append(d, nil) }, "and nothing", bad),
	}
}

// damaged are certificates that differ from good ones by one byte, everywhere.
func damaged() (cases []chainCase) {
	random := mathrand.New(mathrand.NewPCG(3, 5))
	for at := 1; at < 4; at++ {
		for i := range 60 {
			where, by := random.Uint32(), byte(1+random.IntN(255))
			cases = append(cases, chainCase{
				name: fmt.Sprintf("damage %d at %d", i, at), want: bad,
				links: usual(at, func(l *link) {
					l.signed = func(der []byte) []byte { der[int(where)%len(der)] ^= by; return der }
				}),
			})
		}
		cases = append(cases,
			chainCase{name: "cut short", want: bad, links: usual(at, func(l *link) { l.signed = func(der []byte) []byte { return der[:len(der)-1] } })},
			chainCase{name: "with a tail", want: bad, links: usual(at, func(l *link) { l.signed = func(der []byte) []byte { return append(der, 0) } })})
	}
	return cases
}
