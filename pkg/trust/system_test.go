package trust

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
)

// TestSystemRoots: they are those of crypto/x509, and are read anew where that is not.
func TestSystemRoots(t *testing.T) {
	its, err := x509.SystemCertPool()
	if err != nil {
		t.Fatal(err)
	}
	if got := SystemRoots(); got == nil || !got.Equal(its) {
		t.Error("not the roots that crypto/x509 finds here")
	}
	dir := t.TempDir()
	t.Setenv("SSL_CERT_FILE", filepath.Join(dir, "bundle.pem"))
	t.Setenv("SSL_CERT_DIR", filepath.Join(dir, "none")+":"+filepath.Join(dir, "single"))
	if SystemRoots() != nil {
		t.Error("roots where there are none")
	}
	pool, stamps := x509.NewCertPool(), map[string]bool{SystemStamp(): true}
	for _, name := range []string{"bundle.pem", "single/one.pem", "single/another.pem"} {
		root, _ := root(t, name)
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), root, 0o600); err != nil {
			t.Fatal(err)
		}
		pool.AppendCertsFromPEM(root)
		if got := SystemRoots(); got == nil || !got.Equal(pool) {
			t.Errorf("with %s other roots than there are", name)
		}
		stamps[SystemStamp()] = true
	}
	if len(stamps) != 4 {
		t.Errorf("%d stamps of 4 states", len(stamps))
	}
}
