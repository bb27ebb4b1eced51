package snapshot

import (
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/vault"
)

// TestScrubFilters: routes with the same secrets share a filter, one that says off has
// none, and a secret that is too short to be looked for is warned of at load.
func TestScrubFilters(t *testing.T) {
	token, pin, roots := write(t, "token", []byte("long-enough")), write(t, "pin", []byte("1234567")), write(t, "roots.pem", root(t))
	c := manyRoutes(4, roots)
	c.Routes[2].Scrub = config.ScrubOff
	c.Routes[3].Scrub = config.ScrubAlert
	c.Routes[3].Inject = []config.Inject{{Form: config.Bearer, Secret: "pin"}}
	r := readingsOf(vault.New(map[string]vault.Source{"token": vault.File{Path: token}, "pin": vault.File{Path: pin}}), map[string]*vault.Cached{})
	s, err := build(t, c, r)
	if err != nil {
		t.Fatal(err)
	}
	first, second, off, alert := s.Plans[0].Scrub, s.Plans[1].Scrub, s.Plans[2].Scrub, s.Plans[3].Scrub
	if first.Filter.Empty() || first.Filter != second.Filter || first.Alert {
		t.Errorf("two routes with one secret: %+v, %+v", first, second)
	}
	if !off.Filter.Empty() || !alert.Filter.Empty() || !alert.Alert {
		t.Errorf("off: %+v, alert, with a secret that is too short: %+v", off, alert)
	}
	if len(r.warnings) != 1 || !strings.Contains(r.warnings[0], `route "route-3": secret "pin" has less than 8 bytes`) {
		t.Errorf("warnings %q", r.warnings)
	}
}

// TestScrubbedOfWhatSigns: session tokens, which go out, and keys that the API has too
// may come back. An access key id is no secret.
func TestScrubbedOfWhatSigns(t *testing.T) {
	for sign, want := range map[string]string{
		"{sigv4: {access_key: secret:id, secret_key: secret:key, session_token: secret:token, region: r, service: s3}}": "a session token,a secret access key",
		"{sigv4: {access_key: secret:id, secret_key: secret:key, region: r, service: s3}}":                              "a secret access key",
		"{httpsig: {key: secret:key, algorithm: hmac-sha256}}":                                                          "a secret access key",
		"{hmac: {key: secret:key, preset: github}}":                                                                     "a secret access key",
		"{httpsig: {key: secret:pem, algorithm: ed25519}}":                                                              "",
	} {
		c, r := signingConfig(t, sign)
		s, err := build(t, c, r)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, value := range []string{"a session token", "a secret access key", "AKIDREAL"} {
			if f := s.Plans[0].Scrub.Filter; !f.Empty() && f.Has([]byte("here is "+value)) {
				got = append(got, value)
			}
		}
		if strings.Join(got, ",") != want {
			t.Errorf("%s: responses are scrubbed of %q, want %q", sign, got, want)
		}
	}
}
