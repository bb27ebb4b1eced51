package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// root makes a throw-away root and returns certificate and key in PEM.
func root(t testing.TB, name string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	must(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func write(t testing.TB, path string, parts ...[]byte) string {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, bytes.Join(parts, []byte("# a comment\n")), 0o644))
	return path
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

func count(b []byte) int { return bytes.Count(b, []byte("BEGIN CERTIFICATE")) }

// source is the copy that stands over target, or "".
func (s *Store) source(target string) string {
	for _, b := range s.binds {
		if b.Target == target {
			return s.path(b.Source)
		}
	}
	return ""
}

func TestPrepare(t *testing.T) {
	ours, _ := root(t, "ours")
	dir := filepath.Join(t.TempDir(), "trust")
	old := syscall.Umask(0o077)
	s, err := Prepare(dir, ours)
	syscall.Umask(old)
	must(t, err)
	if !bytes.HasSuffix(read(t, s.Bundle()), ours) || !bytes.Equal(read(t, s.path(rootName)), ours) {
		t.Error("our root is not in the bundle")
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode() != 0o644 {
			t.Errorf("%s: mode %v, %v; every workload must be able to read it", e.Name(), info.Mode(), err)
		}
	}
	if info, _ := os.Stat(dir); info.Mode().Perm() != 0o755 {
		t.Errorf("directory has mode %v", info.Mode())
	}
	for _, b := range s.binds {
		theirs, copied := read(t, b.Target), read(t, s.path(b.Source))
		if strings.HasSuffix(b.Source, ".pem") && count(copied) != count(certificates(theirs))+1 {
			t.Errorf("%s: %d certificates became %d", b.Target, count(theirs), count(copied))
		}
	}
	opened, err := Open(dir)
	must(t, err)
	if !slices.Equal(opened.binds, s.binds) || !bytes.Equal(opened.root, s.root) {
		t.Error("Open does not give what Prepare made")
	}
	again, err := Prepare(dir, ours)
	must(t, err)
	if after, _ := os.ReadDir(dir); len(after) != len(entries) || !slices.Equal(again.binds, s.binds) {
		t.Errorf("the second Prepare left %d files, the first %d", len(after), len(entries))
	}
}

func TestPrepareRefuses(t *testing.T) {
	ours, key := root(t, "ours")
	for name, b := range map[string][]byte{"nothing": nil, "noise": []byte("noise"), "a key": key} {
		if _, err := Prepare(filepath.Join(t.TempDir(), "x"), b); !errors.Is(err, ErrNoCertificate) {
			t.Errorf("%s: %v", name, err)
		}
	}
	writable := filepath.Join(t.TempDir(), "writable")
	must(t, os.Mkdir(writable, 0o755))
	must(t, os.Chmod(writable, 0o777))
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(t.TempDir(), link))
	for _, dir := range []string{writable, link, write(t, filepath.Join(t.TempDir(), "file"))} {
		if _, err := Prepare(dir, ours); err == nil {
			t.Errorf("took %s", dir)
		}
	}
}

func TestKeystore(t *testing.T) {
	ours, _ := root(t, "ours")
	theirs, _ := root(t, "theirs")
	bundle := append(bytes.Clone(theirs), ours...)
	load := func(b []byte) keystore.KeyStore {
		t.Helper()
		ks := keystore.New()
		must(t, ks.Load(bytes.NewReader(b), []byte(storePassword)))
		return ks
	}
	jks, err := addToKeystore(nil, theirs, ours)
	must(t, err)
	if got := load(jks).Aliases(); len(got) != 2 {
		t.Errorf("made of a bundle: %v", got)
	}
	third, _ := root(t, "third")
	more, err := addToKeystore(jks, bundle, third)
	must(t, err)
	if got := load(more).Aliases(); len(got) != 2 {
		t.Errorf("a second root of ours replaces the first: %v", got)
	}
	locked := keystore.New()
	must(t, addPEM(&locked, third, "own-%d"))
	var b bytes.Buffer
	must(t, locked.Store(&b, []byte("another password")))
	for name, unreadable := range map[string][]byte{"PKCS#12": {0x30, 0x82, 0x01}, "other password": b.Bytes(), "cut": jks[:len(jks)/2]} {
		got, err := addToKeystore(unreadable, theirs, ours)
		if err != nil || len(load(got).Aliases()) != 2 {
			t.Errorf("%s: %v", name, err)
		}
	}
	withKey := load(jks)
	entry := keystore.PrivateKeyEntry{CreationTime: time.Now(), PrivateKey: []byte("private"), CertificateChain: nil}
	must(t, withKey.SetPrivateKeyEntry("mine", entry, []byte(storePassword)))
	b.Reset()
	must(t, withKey.Store(&b, []byte(storePassword)))
	public, err := addToKeystore(b.Bytes(), theirs, ours)
	must(t, err)
	if got := load(public).Aliases(); len(got) != 2 || slices.Contains(got, "mine") {
		t.Errorf("a private key was copied: %v", got)
	}
	again, err := addToKeystore(nil, theirs, ours)
	must(t, err)
	if !bytes.Equal(jks, again) {
		t.Error("the same certificates give another file")
	}
}

func TestCertificates(t *testing.T) {
	a, key := root(t, "a")
	b, _ := root(t, "b")
	in := bytes.Join([][]byte{[]byte("# comment\n"), a, key, b, a, []byte("-----BEGIN CERTIFICATE-----\ncut")}, nil)
	if got, want := certificates(in), append(bytes.Clone(a), b...); !bytes.Equal(got, want) {
		t.Errorf("got %d certificates, want 2", count(got))
	}
	trusted := bytes.ReplaceAll(a, []byte("BEGIN CERT"), []byte("BEGIN TRUSTED CERT"))
	trusted = bytes.ReplaceAll(trusted, []byte("END CERT"), []byte("END TRUSTED CERT"))
	if got := certificates(trusted); !bytes.Equal(got, trusted) {
		t.Errorf("OpenSSL's own form became %q", got)
	}
}

func TestReadFileRefusesWhatIsNoFile(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	must(t, syscall.Mkfifo(pipe, 0o600))
	for _, path := range []string{pipe, "/dev/zero", t.TempDir(), "/does/not/exist"} {
		if b, err := readFile(path); err == nil {
			t.Errorf("%s: read %d bytes", path, len(b))
		}
	}
}

func FuzzCertificates(f *testing.F) {
	a, key := root(f, "a")
	f.Add(append(bytes.Clone(a), key...))
	f.Fuzz(func(t *testing.T, b []byte) {
		once := certificates(b)
		if twice := certificates(once); !bytes.Equal(once, twice) {
			t.Error("not the same the second time")
		}
		if bytes.Contains(once, []byte("PRIVATE KEY")) {
			t.Error("a private key came through")
		}
	})
}

func FuzzKeystore(f *testing.F) {
	a, _ := root(f, "a")
	jks, err := addToKeystore(nil, a, a)
	must(f, err)
	f.Add(jks)
	f.Add([]byte{0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := addToKeystore(b, a, a)
		if err != nil {
			return
		}
		ks := keystore.New()
		if err := ks.Load(bytes.NewReader(out), []byte(storePassword)); err != nil || !ks.IsTrustedCertificateEntry(rootAlias) {
			t.Error(fmt.Errorf("our root is not in the result: %w", err))
		}
	})
}
