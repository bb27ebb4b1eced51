package snapshot

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/proxy"
	"github.com/outwarden/outwarden/pkg/replay"
)

// signingConfig is a configuration with a route for each way to sign.
func signingConfig(t *testing.T, routes ...string) (*config.Config, *Readings) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	const example = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
	public, err := base64.StdEncoding.DecodeString(example) // RFC 9421 appendix B.1.5
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := "state_dir: state\nsecrets:\n"
	for name, content := range map[string][]byte{
		"shared": []byte("shared"), "other": []byte("other"), "example": public, "id": []byte("AKIDREAL"), "token": []byte("a session token"), "key": []byte("a secret access key"),
		"webhook": []byte("whsec_c2hhcmVk"), "pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("  %s: {file: %s}\n", name, name)
	}
	text += "routes:\n"
	for i, sign := range routes {
		text += fmt.Sprintf("- name: r%d\n  from: {exe: /x}\n  to: {host: h%d.example}\n  sign: %s\n", i, i, sign)
	}
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	c, _, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return c, NewReadings(c)
}

// build is Build without upstreams, and with a memory of replays.
func build(t *testing.T, c *config.Config, r *Readings) (*proxy.Snapshot, error) {
	t.Helper()
	seen, err := replay.Open(replay.Options{Window: time.Minute, Capacity: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := seen.Close(); err != nil {
			t.Error(err)
		}
	})
	s := NewSigning()
	s.Seen.Store(seen)
	return Build(t.Context(), c, r, s, nil)
}

func TestEveryKindOfSigner(t *testing.T) {
	routes := map[string]string{
		"{hmac: {key: secret:shared, preset: knoxcall, nonce: true}}":                                                                                          "shared",
		"{hmac: {key: secret:shared, preset: github}, refuse_replays: true}":                                                                                   "shared",
		`{hmac: {key: ["secret:webhook", "secret:webhook"], preset: standard-webhooks}}`:                                                                       "webhook,webhook",
		`{hmac: {key: secret:shared, template: "{method}{timestamp}", time: ms, headers: [{name: T, value: "{timestamp}"}, {name: S, value: "{signature}"}]}}`: "shared",
		"{httpsig: {key: secret:pem, algorithm: ed25519}}":                                                                                                     "pem",
		"{httpsig: {key: secret:pem, algorithm: ed25519, preset: web-bot-auth, agent: https://bot.example}}":                                                   "pem",
		"{httpsig: {key: secret:shared, algorithm: hmac-sha256, components: [\"@method\", \"date?\"]}}":                                                        "shared",
		"{sigv4: {access_key: secret:id, secret_key: secret:shared, session_token: secret:other, region: eu-west-1, service: s3}}":                             "shared",
		"{hmac: {key: secret:shared, preset: knoxcall}, httpsig: {key: secret:pem, algorithm: ed25519, components: [\"x-signature\"]}}":                        "shared pem",
	}
	for sign, want := range routes {
		c, r := signingConfig(t, sign)
		s, err := build(t, c, r)
		if err != nil {
			t.Errorf("%s: %v", sign, err)
			continue
		}
		var names []string
		for _, use := range s.Plans[0].Inject.Uses() {
			names = append(names, use.Name)
			if use.Form != "signature" || use.Version == "" {
				t.Errorf("%s: %+v", sign, use)
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: uses %q, want %q", sign, got, want)
		}
	}
}

func TestSignersThatAreRefused(t *testing.T) {
	for sign, want := range map[string]string{
		"{httpsig: {key: secret:shared, algorithm: ed25519}}":                                                             "PEM",
		"{httpsig: {key: secret:pem, algorithm: rsa-pss-sha512}}":                                                         "algorithm",
		"{httpsig: {key: secret:example, algorithm: hmac-sha256}}":                                                        "public",
		"{httpsig: {key: secret:shared, algorithm: hmac-sha256, preset: web-bot-auth}}":                                   "key",
		"{hmac: {key: secret:shared, preset: standard-webhooks}}":                                                         "base64",
		"{sigv4: {access_key: secret:id, secret_key: secret:shared, placeholder: AKIDREAL, region: r, service: s3}}":      "placeholder",
		`{hmac: {key: secret:shared, template: "{body}", key_encoding: hex, headers: [{name: S, value: "{signature}"}]}}`: "hex",
	} {
		c, r := signingConfig(t, sign)
		_, err := build(t, c, r)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "whsec") {
			t.Errorf("%s: %v, want %q in it", sign, err, want)
		}
	}
}
