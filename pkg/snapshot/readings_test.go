package snapshot

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/secret"
	"github.com/outwarden/outwarden/pkg/vault"
)

// watched counts what is asked of a source.
type watched struct {
	vault.Stamped
	reads, looks int
}

func (w *watched) FetchStamped(ctx context.Context) (secret.Value, vault.Stamp, error) {
	w.reads++
	return w.Stamped.FetchStamped(ctx)
}

func (w *watched) Stamp() (vault.Stamp, error) {
	w.looks++
	return w.Stamped.Stamp()
}

// manyRoutes use one secret, and all the same roots.
func manyRoutes(n int, roots string) *config.Config {
	c := &config.Config{Routes: make([]config.Route, n)}
	for i := range c.Routes {
		c.Routes[i].Name = fmt.Sprintf("route-%d", i)
		c.Routes[i].Inject = []config.Inject{{Form: config.Bearer, Secret: "token"}}
		c.Routes[i].Upstream.CA.File = roots
	}
	return c
}

// TestSecretsAreReadOnce: however many routes use a secret or a file, it is read
// once for a snapshot, and looked at once each time after that.
func TestSecretsAreReadOnce(t *testing.T) {
	token, roots := write(t, "token", []byte("first")), write(t, "roots.pem", root(t))
	for _, n := range []int{1, 100} {
		hidden, open := &watched{Stamped: vault.File{Path: token}}, &watched{Stamped: vault.Public{Path: roots}}
		r := readingsOf(vault.New(map[string]vault.Source{"token": hidden}), map[string]*vault.Cached{roots: vault.Remember(open)})
		s, err := build(t, manyRoutes(n, roots), r)
		if err != nil {
			t.Fatal(err)
		}
		if last := s.Plans[n-1]; last.Inject.Empty() || last.Upstream.Roots == nil {
			t.Fatalf("the last of %d plans is %+v", n, last)
		}
		if hidden.reads != 1 || open.reads != 1 {
			t.Errorf("%d routes: read %d and %d times for one snapshot", n, hidden.reads, open.reads)
		}
		for hidden.looks == 0 || open.looks == 0 { // until the files are old enough for their stamps to tell
			unchanged(t, r)
		}
		before := [2]watched{*hidden, *open}
		const more = 3
		for range more {
			unchanged(t, r)
		}
		for i, w := range []*watched{hidden, open} {
			if w.reads != before[i].reads || w.looks != before[i].looks+more {
				t.Errorf("%d routes: read %d times and looked at %d times in %d looks", n, w.reads-before[i].reads, w.looks-before[i].looks, more)
			}
		}
	}
}

func unchanged(t *testing.T, r *Readings) {
	t.Helper()
	if next, err := r.Renew(t.Context()); next != nil || err != nil {
		t.Fatalf("next %v, %v", next, err)
	}
}

// TestReadingsSeeWhatChanged: a change, a loss and a return of a secret and of a
// file are seen, and until they are taken again the old ones stand.
func TestReadingsSeeWhatChanged(t *testing.T) {
	token, roots := write(t, "token", []byte("first")), write(t, "roots.pem", []byte("a"))
	c := &config.Config{Secrets: map[string]config.Source{"token": {File: token}}}
	for m, path := range map[config.Material]string{{Secret: "token"}: token, {File: roots}: roots} {
		r := NewReadings(c)
		first, err := r.take(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		replace(t, path, "second")
		next, err := r.Renew(t.Context())
		if next == nil || err != nil {
			t.Fatalf("%s replaced: %v, %v", path, next, err)
		}
		if same, _ := r.take(t.Context(), m); same.version != first.version || !same.value.Equal(first.value) {
			t.Errorf("%s: one snapshot would have two versions", path)
		}
		second, err := next.take(t.Context(), m)
		if err != nil || string(second.value.Reveal()) != "second" || second.version == first.version {
			t.Errorf("%s: taken again it is %s, %v", path, second.version, err)
		}
		unchanged(t, next)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if third, err := next.Renew(t.Context()); third != nil || !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s removed: %v, %v", path, third, err)
		}
		replace(t, path, "third")
		if third, err := next.Renew(t.Context()); third == nil || err != nil {
			t.Errorf("%s is back: %v, %v", path, third, err)
		}
	}
}

// write makes a file that others may not read.
func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func replace(t *testing.T, path, content string) {
	t.Helper()
	if err := os.Rename(write(t, "next", []byte(content)), path); err != nil {
		t.Fatal(err)
	}
}

// root is a certificate in PEM.
func root(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
