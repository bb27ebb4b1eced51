package authority

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/outwarden/outwarden/pkg/flow"
)

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
	a := open(t, freshDir(t), Options{MintRate: 10, Clock: func() time.Time { return now }})
	mint := func(workload uint64, prefix string, n int) (minted int) {
		for i := range n {
			_, err := a.CertificateFor(workload, fmt.Sprintf("%s%d.example", prefix, i))
			if err == nil {
				minted++
			} else if !errors.Is(err, ErrBusy) || !errors.Is(err, flow.ReasonNameLimit) {
				t.Fatal(err)
			}
		}
		return minted
	}
	if got := mint(1, "a", 100); got != 5*burst {
		t.Errorf("%d at once for one workload, want %d", got, 5*burst)
	}
	if got := mint(1, "a", 5*burst); got != 5*burst {
		t.Errorf("leaves in memory are not rated: %d", got)
	}
	now = now.Add(time.Second)
	if got := mint(1, "b", 100); got != 5 {
		t.Errorf("%d in the next second, want 5", got)
	}
	if got := mint(2, "c", 100); got != 5*burst {
		t.Errorf("%d for another workload, want %d", got, 5*burst)
	}
	if got := mint(3, "d", 100); got != 5 {
		t.Errorf("%d for a third, want the 5 that are left", got)
	}
	now = now.Add(-time.Hour)
	if got := mint(4, "e", 1); got != 0 {
		t.Error("a clock set back gave tokens")
	}
}

// TestRateIsBounded: however many workloads ask, few are remembered, and what
// they get together is the rate.
func TestRateIsBounded(t *testing.T) {
	now := time.Now()
	r := newRate(10, func() time.Time { return now })
	taken := 0
	for workload := range uint64(20 * maxWorkloads) {
		if r.take(workload) {
			taken++
		}
		if len(r.of) > maxWorkloads {
			t.Fatalf("%d workloads remembered, the bound is %d", len(r.of), maxWorkloads)
		}
	}
	if taken != 10*burst {
		t.Errorf("%d at once, want %d", taken, 10*burst)
	}
	now = now.Add(burst * time.Second)
	if !r.take(math.MaxUint64) || len(r.of) > 1 {
		t.Errorf("%d workloads remembered whose buckets are full", len(r.of))
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
