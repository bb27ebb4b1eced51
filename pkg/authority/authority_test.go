package authority

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
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
	for _, c := range []struct {
		a    *Authority
		name string
		ok   bool
	}{
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

func TestHostileNamesAreRefused(t *testing.T) {
	dir := freshDir(t)
	a := open(t, dir, Options{})
	before := contents(t, dir)
	for _, name := range []string{
		"", ".", "..", "a..b", "*", "*.example.com", "a\x00.example", "../../etc/passwd", "a/b", "a b", "a\nb", "a:443", "[::1",
		"bücher.example", "\xff\xfe", "a.example\x00", strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 200) + "x",
		strings.Repeat("a", 64<<10), "-a.example", "a-.example", "fe80::1%eth0", "%s%d", "'; DROP", "a_b..c", ",", "@", "http://a.example",
	} {
		if cert, err := a.Certificate(name); !errors.Is(err, ErrName) || cert != nil {
			t.Errorf("%.40q: got %v, %v", name, cert, err)
		}
	}
	for n := range 50 {
		if _, err := a.Certificate(fmt.Sprintf("host%d.example", n)); err != nil {
			t.Error(err)
		}
	}
	after := contents(t, dir)
	if len(after) != len(before) || after[keyFile] != before[keyFile] || after[rootsFile] != before[rootsFile] {
		t.Error("minting wrote to the disk")
	}
}

func TestOneLeafForAllSpellings(t *testing.T) {
	a := open(t, freshDir(t), Options{})
	for _, names := range [][]string{
		{"api.example.com", "API.Example.COM", "api.example.com."},
		{"2001:db8::1", "[2001:db8::1]", "2001:DB8:0::1"},
		{"192.0.2.1", "::ffff:192.0.2.1"},
	} {
		first, err := a.Certificate(names[0])
		must(t, err)
		for _, name := range names {
			if got, err := a.Certificate(name); err != nil || got != first {
				t.Errorf("%s: another leaf than %s, %v", name, names[0], err)
			}
		}
		if err := verify(first.Leaf, a.Root(), names[0]); err != nil {
			t.Error(err)
		}
	}
}

func TestOneMintForAllWhoAskAtOnce(t *testing.T) {
	a := open(t, freshDir(t), Options{MintRate: 1}) // four at once
	var all sync.WaitGroup
	var seen sync.Map
	for range 64 {
		all.Go(func() {
			cert, err := a.Certificate("a.example")
			if err != nil {
				t.Error(err)
			}
			seen.Store(cert, true)
		})
	}
	all.Wait()
	n := 0
	seen.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d leaves", n)
	}
}

func TestMintRate(t *testing.T) {
	now := time.Now()
	a := open(t, freshDir(t), Options{MintRate: 5, Clock: func() time.Time { return now }})
	mint := func(prefix string, n int) (minted int) {
		for i := range n {
			_, err := a.Certificate(fmt.Sprintf("%s%d.example", prefix, i))
			if err == nil {
				minted++
			} else if !errors.Is(err, ErrBusy) {
				t.Fatal(err)
			}
		}
		return minted
	}
	if got := mint("a", 100); got != 5*burst {
		t.Errorf("%d at once, want %d", got, 5*burst)
	}
	if got := mint("a", 5*burst); got != 5*burst {
		t.Errorf("leaves in memory are not rated: %d", got)
	}
	now = now.Add(time.Second)
	if got := mint("b", 100); got != 5 {
		t.Errorf("%d in the next second, want 5", got)
	}
	now = now.Add(-time.Hour)
	if got := mint("c", 1); got != 0 {
		t.Error("a clock set back gave tokens")
	}
}

func TestLeafIsMintedAnewBeforeItExpires(t *testing.T) {
	begin := time.Now().Truncate(time.Second)
	now := begin
	a := open(t, freshDir(t), Options{Clock: func() time.Time { return now }})
	at := func(d time.Duration) *tls.Certificate {
		t.Helper()
		now = begin.Add(d)
		cert, err := a.Certificate("a.example")
		must(t, err)
		if cert.Leaf.NotBefore.After(now) || cert.Leaf.NotAfter.Sub(now) < leafRenew {
			t.Errorf("after %v: valid from %v to %v", d, cert.Leaf.NotBefore, cert.Leaf.NotAfter)
		}
		return cert
	}
	const renew = leafLife - backdate - leafRenew
	first := at(0)
	if at(renew-2*time.Second) != first {
		t.Error("minted anew too early")
	}
	second := at(renew)
	if second == first {
		t.Error("not minted anew")
	}
	if at(0) == second { // the clock was set back: a leaf of the future is of no use
		t.Error("handed out a leaf of the future")
	}
}

func TestLeavesAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 8).Draw(t, "limit")
		l, now := newLeaves(limit), time.Now()
		names := rapid.SliceOf(rapid.SampledFrom(strings.Split("a b c d e f g h i j k l", " "))).Draw(t, "names")
		for _, name := range names {
			cert := &tls.Certificate{Leaf: &x509.Certificate{NotBefore: now.Add(-backdate), NotAfter: now.Add(leafLife - backdate)}}
			if got := l.get(name, now); got != nil && rapid.Bool().Draw(t, "keep") {
				continue
			}
			l.put(name, cert)
			if l.get(name, now) != cert {
				t.Fatalf("%s is not there after put", name)
			}
			if len(l.names) > limit || len(l.ring) > limit {
				t.Fatalf("%d names, %d slots; the bound is %d", len(l.names), len(l.ring), limit)
			}
		}
	})
}

func TestFloodDoesNotPushOutWhatIsUsed(t *testing.T) {
	a := open(t, freshDir(t), Options{Leaves: 8})
	first, err := a.Certificate("used.example")
	must(t, err)
	for n := range 100 {
		_, err := a.Certificate(fmt.Sprintf("flood%d.example", n))
		must(t, err)
		if got, _ := a.Certificate("used.example"); got != first {
			t.Fatalf("minted anew after %d other names", n)
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
	secret := a.now.Load().key.D.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if strings.Contains(fmt.Sprintf(verb, a), secret) {
			t.Errorf("%s prints the key", verb)
		}
	}
}

func BenchmarkCertificateCached(b *testing.B) {
	a := open(b, freshDir(b), Options{})
	b.ReportAllocs()
	for b.Loop() {
		a.Certificate("api.example.com")
	}
}

func BenchmarkMint(b *testing.B) {
	g, now := open(b, freshDir(b), Options{}).now.Load(), time.Now()
	for b.Loop() {
		g.mintLeaf("api.example.com", now)
	}
}
