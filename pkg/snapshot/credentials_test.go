package snapshot

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/secret"
	"github.com/outwarden/outwarden/pkg/vault"
)

// TestSecretsWithControlBytesAreRefusedAtLoad is C13 for secrets: in whichever
// form it would go out, one with CR, LF or NUL makes the load fail, and the error
// does not repeat it.
func TestSecretsWithControlBytesAreRefusedAtLoad(t *testing.T) {
	state := t.TempDir()
	for name, in := range map[string]config.Inject{
		"bearer": {Form: config.Bearer}, "basic": {Form: config.Basic, Username: "u"}, "header": {Form: config.Header, Field: "X-Key"},
		"query": {Form: config.Query, Field: "k"}, "cookie": {Form: config.Cookie, Field: "k"}, "path": {Form: config.Path, Segment: 1},
		"json": {Form: config.JSON, Field: "/k"}, "form": {Form: config.Fields, Field: "k"},
		"placeholder": {Form: config.Swap, Placeholder: config.Placeholder{In: []string{"header"}}},
		"template":    {Form: config.Header, Field: "X-Key", Template: []config.Piece{{Text: "Token "}, {Secret: "token"}}},
	} {
		in.Secret = "token"
		for _, content := range []string{"canary", "canary\r\nX-Evil: 1", "canary\nx", "canary\x00", "\rcanary", "canary\n\n"} {
			path := write(t, "token", []byte(content))
			r := readingsOf(vault.New(map[string]vault.Source{"token": vault.File{Path: path}}), nil)
			c := &config.Config{StateDir: state, Routes: []config.Route{{Inject: []config.Inject{in}}}}
			s, err := build(t, c, r)
			if good := content == "canary"; good != (err == nil) || good && s.Plans[0].Inject.Empty() {
				t.Errorf("%s %q: %v", name, content, err)
			}
			if err != nil && (!strings.Contains(err.Error(), secret.ErrControlByte.Error()) || strings.Contains(err.Error(), "canary")) {
				t.Errorf("%s: the error is %q", name, err)
			}
		}
	}
}

// TestMinterKey is made once, for us alone, and kept.
func TestMinterKey(t *testing.T) {
	dir := t.TempDir()
	route := &config.Route{}
	route.Name = "r"
	in := &config.Inject{Secret: "token"}
	var first string
	for range 3 {
		m, err := OpenMinter(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Placeholder(m, route, in)
		if first == "" {
			first = got
		}
		if err != nil || got != first {
			t.Errorf("%q, then %q, %v", first, got, err)
		}
	}
	path := filepath.Join(dir, "placeholders.key")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenMinter(t.Context(), dir); err == nil || !strings.Contains(fmt.Sprint(err), "chmod 0600") {
		t.Errorf("a key that all can read: %v", err)
	}
}

// identity is a certificate and its key in PEM.
func identity(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}
