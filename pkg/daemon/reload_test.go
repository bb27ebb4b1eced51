package daemon

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/authority"
	"github.com/outwarden/outwarden/pkg/config"
)

// A file that is emptied and written anew is nothing for a moment, which is a whole
// configuration; a reload at that moment does not take it for one.
func TestReloadOfNothing(t *testing.T) {
	d := quiet(t)
	for _, text := range []string{"", "# soon\n"} {
		if err := os.WriteFile(d.o.Config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "is empty or gone") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if d.loaded.failed == nil {
		t.Error("the failed reload is forgotten")
	}
}

// A daemon that runs for a year issues its root again, and so does one whose clock is
// put right; workloads that start then find the new one.
func TestRootIsRenewed(t *testing.T) {
	d, passed := quiet(t), time.Duration(0)
	a, err := authority.Open(filepath.Join(t.TempDir(), "authority"), authority.Options{Clock: func() time.Time { return time.Now().Add(passed) }})
	if err != nil {
		t.Fatal(err)
	}
	d.leaves.current.Store(a)
	d.atStart = &config.Config{RunDir: t.TempDir()}
	trusted := func(file string) bool {
		leaf, err := a.Certificate("a.example")
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := os.ReadFile(filepath.Join(trustDir(d.atStart), file))
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(bundle)
		_, err = leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: time.Now().Add(passed)})
		return err == nil
	}
	if err := d.prepareTrust(t.Context()); err != nil {
		t.Fatal(err)
	}
	const year, days = 365 * 24 * time.Hour, 24 * time.Hour
	for _, passed = range []time.Duration{0, year - 20*days, year + days, 3 * year} {
		d.renewTrust()
		for _, file := range []string{"bundle.pem", "root.pem"} {
			if !trusted(file) {
				t.Errorf("%v later %s does not make workloads trust us", passed, file)
			}
		}
	}
}
