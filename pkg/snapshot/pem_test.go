package snapshot

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/vault"
)

// clientID is a client certificate with its issuer, in all the forms in which people
// have one.
type clientID struct {
	client, issuer []byte // PEM
	der            []byte
	key            *ecdsa.PrivateKey
}

func newClientID(t *testing.T, until time.Duration) *clientID {
	t.Helper()
	id, signer := new(clientID), newKey(t)
	id.key = newKey(t)
	now := time.Now()
	issuer := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	_, id.issuer = issue(t, issuer, issuer, signer, signer)
	client := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(until)}
	id.der, id.client = issue(t, client, issuer, id.key, signer)
	return id
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func issue(t *testing.T, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) (der, text []byte) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return der, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (id *clientID) pkcs8(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(id.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// openssl writes the key in a form of its own.
func openssl(t *testing.T, key []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Stdin = bytes.NewReader(key)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// oneRoute uses a client certificate and roots.
func oneRoute(cert, key, roots string) (*config.Config, *Readings) {
	c := &config.Config{Routes: make([]config.Route, 1)}
	c.Routes[0].Name = "route"
	c.Routes[0].Upstream.Certificate.File, c.Routes[0].Upstream.Key.File = cert, key
	c.Routes[0].Upstream.CA.File = roots
	return c, NewReadings(c)
}

// TestClientCertificateFiles: what people put there is taken as they mean it, or an
// error says what to do.
func TestClientCertificateFiles(t *testing.T) {
	id, ended := newClientID(t, time.Hour), newClientID(t, -time.Minute)
	key := id.pkcs8(t)
	chain := append(bytes.Clone(id.client), id.issuer...)
	sec1 := append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), openssl(t, key, "ec")...)
	dos := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) }
	marked := func(b []byte) []byte { return append([]byte("\xef\xbb\xbf"), b...) }
	for name, c := range map[string]struct {
		cert, key      []byte
		problem, hint  string
		warning        string
		certificates   int
		openToEverbody bool
	}{
		"as it should be":            {cert: chain, key: key, certificates: 2},
		"EC parameters before":       {cert: chain, key: sec1, certificates: 2},
		"CRLF":                       {cert: dos(chain), key: dos(key), certificates: 2},
		"a mark of UTF-8":            {cert: marked(chain), key: marked(key), certificates: 2},
		"both in one file":           {cert: append(bytes.Clone(key), chain...), key: append(bytes.Clone(key), chain...), certificates: 2},
		"ended":                      {cert: ended.client, key: ended.pkcs8(t), certificates: 1, warning: "is valid from"},
		"issuer first":               {cert: append(bytes.Clone(id.issuer), id.client...), key: key, problem: "belongs to certificate 2", hint: "first"},
		"another's key":              {cert: chain, key: ended.pkcs8(t), problem: "does not match", hint: "replaced"},
		"encrypted, PKCS #8":         {cert: chain, key: openssl(t, key, "pkcs8", "-topk8", "-passout", "pass:x"), problem: "is encrypted", hint: "openssl pkey"},
		"encrypted, SEC 1":           {cert: chain, key: openssl(t, key, "ec", "-aes128", "-passout", "pass:x"), problem: "is encrypted", hint: "openssl pkey"},
		"DER":                        {cert: id.der, key: key, problem: "may be DER", hint: "openssl x509 -inform DER"},
		"key in DER":                 {cert: chain, key: openssl(t, key, "pkey", "-outform", "DER"), problem: "may be DER", hint: "openssl pkey -inform DER"},
		"half a certificate":         {cert: chain[:len(chain)-80], key: key, problem: "of 2 certificates that begin in", hint: "cut off"},
		"half a key":                 {cert: chain, key: key[:len(key)/2], problem: "holds no private key", hint: "whole"},
		"the certificate as key":     {cert: chain, key: chain, problem: "holds no private key", hint: "the file that was meant"},
		"the key as certificate":     {cert: key, key: key, problem: "holds no certificate", hint: "the file that was meant"},
		"a key that others may read": {cert: chain, key: key, openToEverbody: true, problem: vault.ErrExposed.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, r := oneRoute(write(t, "client.pem", c.cert), write(t, "client.key", c.key), write(t, "roots.pem", root(t)))
			if c.openToEverbody {
				if err := os.Chmod(cfg.Routes[0].Upstream.Key.File, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			s, err := build(t, cfg, r)
			if c.problem != "" {
				if err == nil || !strings.Contains(err.Error(), c.problem) || !strings.Contains(err.Error(), "client.") {
					t.Fatalf("error %v, want %q and the file", err, c.problem)
				}
				if h, _ := errors.AsType[*pemError](err); c.hint != "" && !strings.Contains(h.Hint(), c.hint) {
					t.Errorf("hint %q, want %q", h.Hint(), c.hint)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Plans[0].Upstream.Certificate; len(got.Certificate) != c.certificates {
				t.Errorf("%d certificates, want %d", len(got.Certificate), c.certificates)
			}
			if got := strings.Join(r.Warnings(), "\n"); (c.warning != "") != (got != "") || !strings.Contains(got, c.warning) {
				t.Errorf("warnings %q, want %q", got, c.warning)
			}
		})
	}
}

// TestRootsFiles: of what cannot be read somebody is told, and what can be is trusted.
func TestRootsFiles(t *testing.T) {
	good := root(t)
	id := newClientID(t, time.Hour)
	for name, c := range map[string]struct {
		roots            []byte
		problem, warning string
	}{
		"one":           {roots: good},
		"a mark":        {roots: append([]byte("\xef\xbb\xbf"), good...)},
		"cut off":       {roots: append(bytes.Clone(good), good[:100]...), warning: "of 2 certificates that begin"},
		"half":          {roots: good[:100], problem: "of 1 certificates that begin"},
		"another thing": {roots: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("nothing")}), problem: "certificate 1 in"},
		"DER":           {roots: id.der, problem: "may be DER"},
	} {
		cfg, r := oneRoute(write(t, "client.pem", id.client), write(t, "client.key", id.pkcs8(t)), write(t, "roots.pem", c.roots))
		_, err := build(t, cfg, r)
		if (err != nil) != (c.problem != "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: error %v, want %q", name, err, c.problem)
		}
		if got := strings.Join(r.Warnings(), "\n"); (c.warning != "") != (got != "") || !strings.Contains(got, c.warning) {
			t.Errorf("%s: warnings %q, want %q", name, got, c.warning)
		}
	}
}
