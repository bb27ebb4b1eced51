package trust

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
)

// directories of single roots, which Go reads beside the bundle (crypto/x509).
var directories = [...]string{"/etc/ssl/certs", "/etc/pki/tls/certs"}

// SystemRoots are the roots that this host trusts now, from where crypto/x509 has them:
// that reads them once, so a program that lives for long goes on with those of its start.
// nil: there are none that can be read.
func SystemRoots() *x509.CertPool {
	pool, found := x509.NewCertPool(), false
	files, dirs := systemPlaces()
	for _, path := range files {
		if b, err := readFile(path); err == nil {
			found = pool.AppendCertsFromPEM(b)
			break
		}
	}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if b, err := readFile(filepath.Join(dir, e.Name())); err == nil {
				found = pool.AppendCertsFromPEM(b) || found
			}
		}
	}
	if !found {
		return nil
	}
	return pool
}

// SystemStamp tells one state of what SystemRoots reads from another, by a look at the
// files and directories.
func SystemStamp() string {
	files, dirs := systemPlaces()
	var all strings.Builder
	for _, path := range append(files, dirs...) {
		all.WriteString(stamp(path))
		all.WriteByte('\n')
	}
	return all.String()
}

func systemPlaces() (files, dirs []string) {
	files, dirs = bundles[:6], directories[:] // the first six are those of crypto/x509
	if f := os.Getenv("SSL_CERT_FILE"); f != "" {
		files = []string{f}
	}
	if d := os.Getenv("SSL_CERT_DIR"); d != "" {
		dirs = strings.Split(d, ":")
	}
	return files[:len(files):len(files)], dirs
}
