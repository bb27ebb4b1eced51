package upstream

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/flow"
)

// TestKnownPublicKeys: the digests are of the certificates that are known by
// these names (no private key of theirs is here).
func TestKnownPublicKeys(t *testing.T) {
	t.Setenv("GODEBUG", "x509negativeserial=1") // DSDTestProvider has one
	files, err := filepath.Glob("testdata/distrusted/*.pem")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d certificates, %v", len(files), err)
	}
	p := newPool(t, Options{})
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		good := newCA(t, recipe{cn: "good"}, nil).cert
		known := p.distrusted([]*x509.Certificate{good, cert})
		if ReasonOf(known) != flow.ReasonUpstreamDistrusted {
			t.Fatalf("%s: %v", file, known)
		}
		if name := strings.TrimSuffix(filepath.Base(file), ".pem"); !strings.Contains(strings.ToLower(known.Error()), strings.ToLower(name)) {
			t.Errorf("%s: %v", file, known)
		}
	}
}

// TestPublicKeysAreDistrusted is scorecard A5: a key on the list is refused
// wherever it stands in the chain, and whatever the store of the route says.
func TestPublicKeysAreDistrusted(t *testing.T) {
	root := newCA(t, recipe{cn: "root"}, nil)
	bad := newCA(t, recipe{cn: "laptop maker"}, nil)
	middle := newCA(t, recipe{cn: "laptop maker", key: bad.key}, root)
	below := newCA(t, recipe{cn: "below"}, bad)
	renewed := newCA(t, recipe{cn: "laptop maker, renewed", key: bad.key}, nil)
	other := newCA(t, recipe{cn: "another root"}, nil)
	for _, tt := range []struct {
		name  string
		leaf  tls.Certificate
		roots *x509.CertPool
		want  flow.Reason
	}{
		{"root in the store", bad.leaf(t, recipe{}), bad.pool(), flow.ReasonUpstreamDistrusted},
		{"same key in another certificate", renewed.leaf(t, recipe{}), renewed.pool(), flow.ReasonUpstreamDistrusted},
		{"intermediate", middle.leaf(t, recipe{}, middle), root.pool(), flow.ReasonUpstreamDistrusted},
		{"above an intermediate", below.leaf(t, recipe{}, below), bad.pool(), flow.ReasonUpstreamDistrusted},
		{"key of the leaf", root.leaf(t, recipe{key: bad.key}), root.pool(), flow.ReasonUpstreamDistrusted},
		{"not in the store, sent along", bad.leaf(t, recipe{}, bad), other.pool(), flow.ReasonUpstreamDistrusted},
		{"not in the store, not sent", bad.leaf(t, recipe{}), other.pool(), flow.ReasonUpstreamUntrusted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOrigin(t, &origin{config: &tls.Config{Certificates: []tls.Certificate{tt.leaf}}})
			err := refused(t, distrusting(t, bad), target(o, tt.roots), tt.want)
			if tt.want == flow.ReasonUpstreamDistrusted && !strings.Contains(err.Error(), "ACME laptops") {
				t.Errorf("%v does not name it", err)
			}
			o.stop()
			if n := o.bytes.Load(); n != 0 {
				t.Errorf("%d application bytes", n)
			}
		})
	}
}

// TestAnotherPathIsTaken: a chain that ends elsewhere is none of its business.
func TestAnotherPathIsTaken(t *testing.T) {
	root, bad := newCA(t, recipe{cn: "root"}, nil), newCA(t, recipe{cn: "bad"}, nil)
	middle := newCA(t, recipe{cn: "middle"}, root)
	crossed := newCA(t, recipe{cn: "middle", key: middle.key}, bad)
	both := root.pool()
	both.AddCert(bad.cert)
	o := newOrigin(t, &origin{config: &tls.Config{Certificates: []tls.Certificate{middle.leaf(t, recipe{}, crossed, middle)}}})
	c := mustGet(t, distrusting(t, bad), target(o, both))
	defer c.Close()
	if got := exchange(t, c); got != okResponse {
		t.Errorf("got %q", got)
	}
}

// distrusting is a pool that knows the key of a as public.
func distrusting(t testing.TB, a *ca) *Pool {
	t.Helper()
	p := newPool(t, Options{})
	sum := sha256.Sum256(a.cert.RawSubjectPublicKeyInfo)
	p.publicKeys = map[string]string{hex.EncodeToString(sum[:]): "ACME laptops"}
	return p
}
