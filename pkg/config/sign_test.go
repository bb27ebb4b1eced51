package config_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/hmacsig"
)

func preset(t testing.TB, name string) hmacsig.Template {
	t.Helper()
	p, ok := hmacsig.PresetTemplate(name)
	if !ok {
		t.Fatalf("no preset %s", name)
	}
	return p
}

func TestSignatures(t *testing.T) {
	c := load(t, `
secrets: {a: {file: /a}, b: {file: /b}, c: {file: /c}}
routes:
- name: webhooks
  from: {exe: /x}
  to: {host: a.example}
  sign: {hmac: {key: ["secret:a", "secret:b"], preset: standard-webhooks}, refuse_replays: true}
- name: own
  from: {exe: /x}
  to: {host: b.example}
  sign:
    hmac:
      key: secret:a
      template: ["{method} {path}", "{query.sorted}", "{header:content-type}", "{timestamp}{body:sha512:base64url}"]
      headers: [{name: X-Time, value: "{timestamp}"}, {name: X-Sig, value: "v1={signature}"}]
      algorithm: sha384
      encoding: base64
      time: ms
      key_encoding: hex
- name: messages
  from: {exe: /x}
  to: {host: c.example}
  sign: {httpsig: {key: secret:b, algorithm: ed25519, key_id: k, label: mine, components: ["@method", '"@query-param";name="id"', 'date?'], tag: app, expires: 90s}}
- name: bot
  from: {exe: /x}
  to: {host: d.example}
  sign: {httpsig: {key: secret:b, algorithm: ed25519, preset: web-bot-auth, agent: https://bot.example}}
- name: usual
  from: {exe: /x}
  to: {host: e.example}
  sign: {httpsig: {key: secret:b, algorithm: hmac-sha256}}
- name: aws
  from: {exe: /x}
  to: {host: "*.amazonaws.com"}
  sign:
    sigv4:
    - {access_key: AKIDREAL, secret_key: secret:a, session_token: secret:b, placeholder: AKIDONE, region: [eu-west-1, us-east-1], service: s3}
    - {access_key: secret:c, secret_key: secret:a, placeholder: AKIDTWO, region: eu-west-1, service: [s3, sts]}
`)
	own := hmacsig.Template{
		Name: "template", Text: "{method} {path}\n{query.sorted}\n{header:content-type}\n{timestamp}{body:sha512:base64url}",
		Algorithm: "sha384", Encoding: "base64", Time: "ms", Key: "hex",
		Fields: []hmacsig.FieldTemplate{{Name: "X-Time", Value: "{timestamp}"}, {Name: "X-Sig", Value: "v1={signature}"}},
	}
	want := []config.Sign{
		{HMAC: &config.HMAC{Keys: []string{"a", "b"}, Template: preset(t, "standard-webhooks")}, RefuseReplays: true},
		{HMAC: &config.HMAC{Keys: []string{"a"}, Template: own}},
		{HTTPSig: &config.HTTPSig{
			Secret: "b", Algorithm: "ed25519", KeyID: "k", Label: "mine", Tag: "app", Life: 90 * time.Second,
			Components: []string{"@method", `"@query-param";name="id"`, "date?"}, Digests: []string{"sha-256"},
		}},
		{HTTPSig: &config.HTTPSig{Secret: "b", Algorithm: "ed25519", Label: "sig1", Life: time.Hour, Bot: true, Agent: "https://bot.example"}},
		{HTTPSig: &config.HTTPSig{
			Secret: "b", Algorithm: "hmac-sha256", Label: "sig1",
			Components: []string{"@method", "@target-uri", "content-digest", "content-type?"}, Digests: []string{"sha-256"},
		}},
		{SigV4: []config.SigV4{
			{AccessKey: "AKIDREAL", Secret: "a", SessionToken: "b", Placeholder: "AKIDONE", Regions: []string{"eu-west-1", "us-east-1"}, Services: []string{"s3"}},
			{AccessKey: "secret:c", Secret: "a", Placeholder: "AKIDTWO", Regions: []string{"eu-west-1"}, Services: []string{"s3", "sts"}},
		}},
	}
	for i := range want {
		if diff := cmp.Diff(want[i], *c.Routes[i].Sign); diff != "" {
			t.Errorf("%s -want +got:\n%s", c.Routes[i].Name, diff)
		}
		if !c.Routes[i].Credentialed() {
			t.Errorf("%s is not credentialed", c.Routes[i].Name)
		}
	}
	names, schemes := c.Routes[5].Sign.Secrets()
	if diff := cmp.Diff([][]string{{"a", "b", "a"}, {"sigv4", "sigv4", "sigv4"}}, [][]string{names, schemes}); diff != "" {
		t.Error(diff)
	}
}
