package authority

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func pool(certs ...*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

func verify(leaf, root *x509.Certificate, name string) error {
	_, err := leaf.Verify(x509.VerifyOptions{Roots: pool(root), DNSName: name, CurrentTime: leaf.NotBefore.Add(backdate + time.Minute)})
	return err
}

// opensslVerify asks a second implementation.
func opensslVerify(t testing.TB, leaf, root *x509.Certificate) error {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "root"), encodeCert(root), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "leaf"), encodeCert(leaf), 0o600))
	cmd := exec.Command("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", filepath.Join(dir, "root"), filepath.Join(dir, "leaf"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func hasOpenSSL(t testing.TB) bool {
	_, err := exec.LookPath("openssl")
	if err != nil {
		t.Log("openssl is not installed: only crypto/x509 was asked")
	}
	return err == nil
}

func TestRoot(t *testing.T) {
	a := open(t, freshDir(t), Options{Permitted: []string{"api.example.com", "*.partner.example", "api.example.com", "192.0.2.1"}})
	root := a.Root()
	if !root.IsCA || root.MaxPathLen != 0 || !root.MaxPathLenZero || root.KeyUsage != x509.KeyUsageCertSign {
		t.Errorf("CA %v, path length %d, usage %v", root.IsCA, root.MaxPathLen, root.KeyUsage)
	}
	if got := fmt.Sprint(root.PermittedDNSDomainsCritical, root.PermittedDNSDomains, root.PermittedIPRanges, root.ExcludedIPRanges); got !=
		"true [api.example.com partner.example] [192.0.2.1/32] [::/0]" {
		t.Errorf("constraints %s", got)
	}
	if life := root.NotAfter.Sub(root.NotBefore); life > 366*24*time.Hour {
		t.Errorf("lives for %v", life)
	}
	unconstrained := open(t, freshDir(t), Options{}).Root()
	if unconstrained.PermittedDNSDomains != nil || unconstrained.ExcludedIPRanges != nil {
		t.Error("nil Permitted must mean unconstrained")
	}
	nobodys := open(t, freshDir(t), Options{Permitted: []string{}})
	if got := fmt.Sprint(nobodys.Root().PermittedDNSDomains, nobodys.Root().ExcludedIPRanges); got != "[invalid] [0.0.0.0/0 ::/0]" {
		t.Errorf("empty Permitted: %s", got)
	}
	if _, err := nobodys.Certificate("invalid"); !errors.Is(err, ErrNotPermitted) {
		t.Errorf("empty Permitted: %v", err)
	}
	if _, err := Open(freshDir(t), Options{Permitted: []string{"a b"}}); err == nil {
		t.Error("took a name outside the grammar")
	}
}

// The constraints bind whoever holds the key, not only our own code.
func TestConstraintsBindTheKey(t *testing.T) {
	withOpenSSL := hasOpenSSL(t)
	dns := open(t, freshDir(t), Options{Permitted: []string{"api.example.com", "*.partner.example"}})
	both := open(t, freshDir(t), Options{Permitted: []string{"api.example.com", "192.0.2.1"}})
	nets := open(t, freshDir(t), Options{Permitted: []string{"192.0.2.0/24", "2001:db8::/32", "198.51.100.7"}})
	for _, c := range []struct {
		a    *Authority
		name string
		ok   bool
	}{
		{nets, "192.0.2.0", true},
		{nets, "192.0.2.255", true},
		{nets, "192.0.3.0", false},
		{nets, "198.51.100.7", true},
		{nets, "198.51.100.8", false},
		{nets, "2001:db8:ffff::1", true},
		{nets, "2001:db9::1", false},
		{nets, "a.example", false},
		{dns, "api.example.com", true},
		{dns, "x.y.partner.example", true},
		{dns, "example.com", false},
		{dns, "evilpartner.example", false},
		{dns, "192.0.2.1", false},
		{dns, "2001:db8::1", false},
		{both, "192.0.2.1", true},
		{both, "192.0.2.2", false},
		{both, "2001:db8::1", false},
		{both, "other.example", false},
	} {
		cert, err := c.a.now.Load().mintLeaf(c.name, time.Now())
		must(t, err)
		if err := verify(cert.Leaf, c.a.Root(), c.name); (err == nil) != c.ok {
			t.Errorf("%s: crypto/x509 says %v, want ok=%v", c.name, err, c.ok)
		}
		if withOpenSSL {
			if err := opensslVerify(t, cert.Leaf, c.a.Root()); (err == nil) != c.ok {
				t.Errorf("%s: openssl says %v, want ok=%v", c.name, err, c.ok)
			}
		}
		if _, err := c.a.Certificate(c.name); (err == nil) != c.ok || !c.ok && !errors.Is(err, ErrNotPermitted) {
			t.Errorf("%s: Certificate says %v, want ok=%v", c.name, err, c.ok)
		}
	}
	if _, err := dns.Certificate("partner.example"); !errors.Is(err, ErrNotPermitted) {
		t.Errorf("*.partner.example does not hold partner.example itself: %v", err)
	}
}

func TestMoreNamesKeepWorkloadsRunning(t *testing.T) {
	dir := freshDir(t)
	before := open(t, dir, Options{Permitted: []string{"old.example"}})
	after := open(t, dir, Options{Permitted: []string{"old.example", "new.example"}})
	if before.Root().Equal(after.Root()) || before.Generation() != after.Generation() ||
		!bytes.Equal(before.Root().RawSubject, after.Root().RawSubject) {
		t.Fatal("want another certificate with the same key and subject")
	}
	for _, c := range []struct {
		name string
		root *x509.Certificate
		ok   bool
	}{
		{"old.example", before.Root(), true}, {"old.example", after.Root(), true},
		{"new.example", before.Root(), false}, {"new.example", after.Root(), true},
	} {
		cert, err := after.Certificate(c.name)
		must(t, err)
		if err := verify(cert.Leaf, c.root, c.name); (err == nil) != c.ok {
			t.Errorf("%s: %v, want ok=%v", c.name, err, c.ok)
		}
	}
	fewer := open(t, dir, Options{Permitted: []string{"new.example"}})
	if got := fewer.Root().PermittedDNSDomains; len(got) != 1 {
		t.Errorf("the root still speaks for %v", got)
	}
}

func TestRotate(t *testing.T) {
	dir := freshDir(t)
	a := open(t, dir, Options{})
	old, oldGeneration := a.Root(), a.Generation()
	oldLeaf, err := a.Certificate("a.example")
	must(t, err)
	must(t, a.Rotate())
	if a.Generation() == oldGeneration || bytes.Equal(a.Root().RawSubject, old.RawSubject) {
		t.Error("same generation or subject")
	}
	leaf, err := a.Certificate("a.example")
	must(t, err)
	if verify(leaf.Leaf, a.Root(), "a.example") != nil || verify(leaf.Leaf, old, "a.example") == nil {
		t.Error("the leaf is not of the new root alone")
	}
	if leaf.PrivateKey == oldLeaf.PrivateKey {
		t.Error("the leaf key survived")
	}
	reopened := open(t, dir, Options{})
	if reopened.Generation() != a.Generation() {
		t.Error("rotation did not reach the disk")
	}
	for name, cert := range map[string]*x509.Certificate{"old root": old, "old leaf": oldLeaf.Leaf, "root": a.Root(), "leaf": leaf.Leaf} {
		if !reopened.Issued([]*x509.Certificate{cert}) {
			t.Errorf("%s is not recognised", name)
		}
	}
}

func TestIssuedKnowsOnlyItsOwn(t *testing.T) {
	a, b := open(t, freshDir(t), Options{}), open(t, freshDir(t), Options{})
	ours, err := a.Certificate("a.example")
	must(t, err)
	theirs, err := b.Certificate("a.example")
	must(t, err)
	for name, c := range map[string]struct {
		chain []*x509.Certificate
		want  bool
	}{
		"none":            {nil, false},
		"theirs":          {[]*x509.Certificate{theirs.Leaf, b.Root()}, false},
		"ours":            {[]*x509.Certificate{ours.Leaf}, true},
		"ours at the end": {[]*x509.Certificate{theirs.Leaf, b.Root(), ours.Leaf}, true},
	} {
		if got := a.Issued(c.chain); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestHandshake(t *testing.T) {
	a := open(t, freshDir(t), Options{Permitted: []string{"api.example.com"}})
	server := &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { return a.Certificate(h.ServerName) }}
	for name, ok := range map[string]bool{"api.example.com": true, "other.example": false} {
		near, far := net.Pipe()
		done := make(chan error, 1)
		go func() {
			err := tls.Server(far, server).Handshake()
			far.Close()
			done <- err
		}()
		err := tls.Client(near, &tls.Config{ServerName: name, RootCAs: pool(a.Root())}).Handshake()
		near.Close()
		if serverErr := <-done; (err == nil) != ok || !ok && !errors.Is(serverErr, ErrNotPermitted) {
			t.Errorf("%s: client %v, server %v", name, err, serverErr)
		}
	}
}

func TestNothingPrintsTheKey(t *testing.T) {
	a := open(t, freshDir(t), Options{})
	secret, err := a.now.Load().key.(fileKey).Bytes()
	must(t, err)
	n := new(big.Int).SetBytes(secret)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		out := fmt.Sprintf(verb, a)
		if strings.Contains(out, n.String()) || strings.Contains(out, n.Text(16)) || strings.Contains(out, string(secret)) {
			t.Errorf("%s prints the key", verb)
		}
	}
}
