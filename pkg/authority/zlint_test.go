package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"testing"
	"time"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"
)

// notForPrivate are lints that a CA outside the public web cannot satisfy
// honestly, each with the reason. All are of the CA/Browser Forum's Baseline
// Requirements, which bind publicly trusted CAs; of the RFCs' lints none is
// excused.
var notForPrivate = map[string]string{
	"e_sub_cert_aia_missing":                  "there is no server to fetch the issuer or a revocation from, and a workload shall not look for one; leaves die in a day",
	"e_sub_cert_certificate_policies_missing": "a policy identifier of the CA/Browser Forum would claim a validation that a private CA does not do",
	"e_sub_cert_cert_policy_empty":            "the same",
	"e_ext_san_contains_reserved_ip":          "the public web has no certificates for reserved addresses, workloads may well call them",
}

// A thousand leaves pass zlint, and the properties that every leaf must have.
func TestThousandLeavesPassZlint(t *testing.T) {
	leaves := 1000
	if testing.Short() {
		leaves = 100 // under the race detector, which sees the same in each
	}
	a := open(t, freshDir(t), Options{MintRate: leaves})
	serials := make(map[string]bool)
	failed := make(map[string]int)
	for n := range leaves {
		name := fmt.Sprintf("host-%d.api.example.com", n)
		if n%50 == 0 {
			name = fmt.Sprintf("192.0.2.%d", n/50)
		}
		cert, err := a.Certificate(name)
		must(t, err)
		checkLeaf(t, cert.Leaf, name)
		serials[cert.Leaf.SerialNumber.String()] = true
		parsed, err := zx509.ParseCertificate(cert.Leaf.Raw)
		must(t, err)
		for id, r := range zlint.LintCertificate(parsed).Results {
			if r.Status >= lint.Error {
				failed[id]++
				if id == "e_ext_san_contains_reserved_ip" && len(cert.Leaf.IPAddresses) == 0 {
					t.Errorf("%s is not an address: %s", name, id)
				}
			}
		}
	}
	if len(serials) != leaves {
		t.Errorf("%d serials for %d leaves", len(serials), leaves)
	}
	for _, id := range slices.Sorted(maps.Keys(failed)) {
		if notForPrivate[id] == "" {
			t.Errorf("%s: %d of %d leaves", id, failed[id], leaves)
		}
	}
	for id := range notForPrivate {
		if failed[id] == 0 {
			t.Errorf("%s is excused and does not fail", id)
		}
		if l := lint.GlobalRegistry().CertificateLints().ByName(id); l == nil || l.Source != lint.CABFBaselineRequirements {
			t.Errorf("%s is excused and is no rule for public CAs alone", id)
		}
	}
}

// Of a root the public web asks more (a country, signing CRLs, no reserved
// network): what we do not do it does not claim. It keeps the RFCs.
func TestRootPassesZlint(t *testing.T) {
	for _, permitted := range [][]string{nil, {}, {"*.example.com", "192.0.2.0/24", "2001:db8::1"}} {
		parsed, err := zx509.ParseCertificate(open(t, freshDir(t), Options{Permitted: permitted}).Root().Raw)
		must(t, err)
		for id, r := range zlint.LintCertificate(parsed).Results {
			l := lint.GlobalRegistry().CertificateLints().ByName(id)
			if r.Status >= lint.Error && l.Source != lint.CABFBaselineRequirements {
				t.Errorf("%q: %s: %s", permitted, id, r.Details)
			}
		}
	}
}

func checkLeaf(t testing.TB, leaf *x509.Certificate, name string) {
	t.Helper()
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	names := slices.Concat(leaf.DNSNames, leaf.EmailAddresses)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	switch life := leaf.NotAfter.Sub(leaf.NotBefore) + time.Second; {
	case !ok || key.Curve != elliptic.P256():
		t.Errorf("%s: key is %T", name, leaf.PublicKey)
	case life > 24*time.Hour:
		t.Errorf("%s: lives for %v", name, life)
	case !slices.Equal(names, []string{name}) || len(leaf.URIs) != 0 || leaf.Subject.String() != "":
		t.Errorf("%s: names %q, subject %q", name, names, leaf.Subject)
	case len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth || len(leaf.UnknownExtKeyUsage) != 0:
		t.Errorf("%s: usage %v", name, leaf.ExtKeyUsage)
	case leaf.IsCA || !leaf.BasicConstraintsValid:
		t.Errorf("%s: may be a CA", name)
	case len(leaf.AuthorityKeyId) == 0 || len(leaf.SubjectKeyId) == 0:
		t.Errorf("%s: no key identifiers", name)
	}
}

// Serials are drawn from 128 bits: over many, every bit is seen set and clear.
func TestSerialsUseAllBits(t *testing.T) {
	const bits, draws = 128, 200
	or, and := new(big.Int), new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), bits), big.NewInt(1))
	all := new(big.Int).Set(and)
	for range draws {
		n, err := newSerial()
		must(t, err)
		if n.Sign() <= 0 || n.BitLen() > bits {
			t.Fatalf("serial %v", n)
		}
		or.Or(or, n)
		and.And(and, n)
	}
	if or.Cmp(all) != 0 || and.Sign() != 0 {
		t.Errorf("some bits never change: or %x, and %x", or, and)
	}
}
