package authority

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// as runs a shell script as nobody, in a mount namespace of its own as a
// workload has it, in a directory that nobody may write to.
func as(t *testing.T, dir, script string, args ...string) string {
	t.Helper()
	const nobody = 65534
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "sh"}, args...)...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Cloneflags: syscall.CLONE_NEWNS,
	}
	out, _ := cmd.CombinedOutput() // that it fails is the point
	return string(out)
}

// The ways to a file. $1 is its path, $2 our pid, $3 a descriptor of ours that
// is open on it.
var ways = map[string]string{
	"direct":        `cat "$1"`,
	"own root":      `cat "/proc/self/root$1"`,
	"our root":      `cat "/proc/$2/root$1"`,
	"our directory": `cat "/proc/$2/cwd/$(basename "$1")"`,
	"descriptor":    `cat "/proc/$2/fd/$3"`,
	"memory map":    `cat "/proc/$2/mem"`,
	"symbolic link": `ln -sf "$1" link; cat link`,
	"second name":   `ln "$1" name; cat name`,
	"renamed":       `mv "$1" moved; cat moved`,
	"aside":         `mv "$(dirname "$1")" aside; cat aside/*`,
	"listed":        `cat "$(dirname "$1")"/* "$(dirname "$1")"/.*`,
	"opened up":     `chmod 777 "$(dirname "$1")" "$1"; cat "$1"`,
	"inherited":     `for f in /proc/self/fd/*; do case $(readlink "$f") in "$1") cat "$f";; esac; done`,
}

// A workload reads the key by no path, and each of the two modes, the
// directory's and the file's, keeps it out by itself.
func TestWorkloadCannotReadTheKey(t *testing.T) {
	netnstest.RequireRoot(t)
	base, err := os.MkdirTemp("", "authority")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	must(t, os.Chmod(base, 0o755))
	dir, theirs := filepath.Join(base, "state"), filepath.Join(base, "theirs")
	must(t, os.Mkdir(theirs, 0o777))
	must(t, os.Chmod(theirs, 0o777))
	for name, loosen := range map[string]string{"as made": "", "directory open": dir, "file open": filepath.Join(dir, keyFile)} {
		must(t, os.RemoveAll(dir))
		open(t, dir, Options{})
		if loosen != "" {
			must(t, os.Chmod(loosen, 0o755))
		}
		attack(t, name, theirs, filepath.Join(dir, keyFile))
	}
	// The same ways lead to what is meant for all.
	public := filepath.Join(base, "public")
	must(t, os.WriteFile(public, []byte("for all"), 0o644))
	for _, way := range []string{"direct", "own root", "symbolic link"} {
		if out := as(t, theirs, ways[way], public, "", ""); out != "for all" {
			t.Errorf("%s: a public file could not be read either: %q", way, out)
		}
	}
}

func attack(t *testing.T, name, theirs, key string) {
	t.Helper()
	f, err := os.Open(key)
	must(t, err)
	defer f.Close()
	before, err := os.ReadFile(key)
	must(t, err)
	body := strings.Split(string(before), "\n")[1] // of the PEM block of the key
	t.Chdir(filepath.Dir(key))
	for way, script := range ways {
		out := as(t, theirs, script, key, fmt.Sprint(os.Getpid()), fmt.Sprint(f.Fd()))
		if strings.Contains(out, body) || strings.Contains(out, pemKey) {
			t.Errorf("%s, %s: the workload has the key", name, way)
		}
		if out == "" && way != "inherited" {
			t.Errorf("%s, %s: nothing was tried", name, way)
		}
	}
	if after, err := os.ReadFile(key); err != nil || !bytes.Equal(after, before) {
		t.Errorf("%s: the key was touched: %v", name, err)
	}
}

// What the certificate says is read by another implementation.
func TestOpenSSLSeesTheConstraints(t *testing.T) {
	if !hasOpenSSL(t) {
		t.Skip("openssl is not installed")
	}
	dir := freshDir(t)
	a := open(t, dir, Options{Permitted: []string{"api.example.com", "192.0.2.0/24"}})
	file := filepath.Join(t.TempDir(), "root.pem")
	must(t, os.WriteFile(file, a.RootPEM(), 0o600))
	out, err := exec.Command("openssl", "x509", "-in", file, "-noout", "-text").CombinedOutput()
	must(t, err)
	text := strings.Join(strings.Fields(string(out)), " ")
	for _, want := range []string{
		"X509v3 Basic Constraints: critical CA:TRUE, pathlen:0",
		"X509v3 Key Usage: critical Certificate Sign X509v3",
		"X509v3 Name Constraints: critical Permitted: DNS:api.example.com IP:192.0.2.0/255.255.255.0 Excluded: IP:",
		"ASN1 OID: prime256v1",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

// The key cannot make another authority: path length 0 binds whoever holds it.
func TestKeyMakesNoOtherAuthority(t *testing.T) {
	a := open(t, freshDir(t), Options{})
	g := a.now.Load()
	middle, err := newKey()
	must(t, err)
	now := time.Now()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "middle"}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
	}, g.cert, &middle.PublicKey, g.key)
	must(t, err)
	ca, err := x509.ParseCertificate(der)
	must(t, err)
	forged := &generation{root: root{fileKey{middle}, ca}, leafKey: g.leafKey, leafSKI: g.leafSKI}
	leaf, err := forged.mintLeaf("a.example", now)
	must(t, err)
	_, err = leaf.Leaf.Verify(x509.VerifyOptions{Roots: pool(a.Root()), Intermediates: pool(ca), DNSName: "a.example"})
	if err == nil {
		t.Error("crypto/x509 takes a leaf of an authority below ours")
	}
	if !hasOpenSSL(t) {
		return
	}
	dir := t.TempDir()
	for name, c := range map[string]*x509.Certificate{"root": a.Root(), "middle": ca, "leaf": leaf.Leaf} {
		must(t, os.WriteFile(filepath.Join(dir, name), encodeCert(c), 0o600))
	}
	cmd := exec.Command("openssl", "verify", "-CAfile", "root", "-untrusted", "middle", "leaf")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "path length") {
		t.Errorf("openssl: %v, %s", err, out)
	}
}
