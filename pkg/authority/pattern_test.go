package authority

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestLeavesAreAsCryptoX509WritesThem: what is put together from pieces has not a
// byte that is not as if it had been encoded as a whole.
func TestLeavesAreAsCryptoX509WritesThem(t *testing.T) {
	g := open(t, freshDir(t), Options{}).now.Load()
	for _, name := range []string{"a.example", "a", "xn--bcher-kva.example", longestName(), "192.0.2.1", "2001:db8::1"} {
		for _, year := range []int{1999, 2026, 2049, 2050, 2062} {
			for range 20 { // serials of every length
				serial, err := newSerial()
				must(t, err)
				begin := time.Date(year, 12, 31, 23, 59, 59, 0, time.UTC)
				l := &leaf{serial: serial, begin: begin, end: begin.Add(leafLife), name: name}
				der, err := g.sign(l)
				must(t, err)
				got, err := x509.ParseCertificate(der)
				must(t, err)
				if want := g.byX509(t, l); !bytes.Equal(got.RawTBSCertificate, want.RawTBSCertificate) || got.SignatureAlgorithm != want.SignatureAlgorithm {
					t.Fatalf("%s in %d:\n%x, crypto/x509 writes\n%x", name, year, got.RawTBSCertificate, want.RawTBSCertificate)
				}
				must(t, got.CheckSignatureFrom(g.cert))
			}
		}
	}
}

// byX509 is the leaf as a template that crypto/x509 encodes.
func (g *generation) byX509(t *testing.T, l *leaf) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: l.serial, NotBefore: l.begin, NotAfter: l.end, SubjectKeyId: g.leafSKI,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	if ip, err := netip.ParseAddr(l.name); err == nil {
		template.IPAddresses = []net.IP{ip.AsSlice()}
	} else {
		template.DNSNames = []string{l.name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, g.cert, &g.leafKey.PublicKey, g.key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert
}

// longestName has 253 bytes, so that lengths around it need two.
func longestName() string {
	label := string(bytes.Repeat([]byte("a"), 62)) + "."
	return label + label + label + label + "b"
}

// TestIssuedRemembers: what was found of a certificate is found again, and how
// many are remembered has a bound.
func TestIssuedRemembers(t *testing.T) {
	a, b := open(t, freshDir(t), Options{}), open(t, freshDir(t), Options{})
	ours, err := a.Certificate("a.example")
	must(t, err)
	theirs, err := b.Certificate("a.example")
	must(t, err)
	for range 2 {
		if !a.Issued([]*x509.Certificate{theirs.Leaf, ours.Leaf}) || a.Issued([]*x509.Certificate{theirs.Leaf, b.Root()}) {
			t.Error("what is remembered is not what was found")
		}
	}
	must(t, b.Rotate())
	if a.Issued([]*x509.Certificate{b.Root()}) || !b.Issued([]*x509.Certificate{theirs.Leaf}) {
		t.Error("a root of before is forgotten, or another's taken for ours")
	}
	v := new(verdicts)
	for n := range 3 * maxVerdicts {
		v.put([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}, true)
		if len(v.of) > maxVerdicts {
			t.Fatalf("%d remembered, the bound is %d", len(v.of), maxVerdicts)
		}
	}
}
