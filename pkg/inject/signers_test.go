package inject

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/hmacsig"
	"github.com/outwarden/outwarden/pkg/httpsig"
	"github.com/outwarden/outwarden/pkg/replay"
	"github.com/outwarden/outwarden/pkg/secret"
)

func templateSigner(t testing.TB, preset string, clock *replay.Clock) *Template {
	t.Helper()
	scheme, err := hmacsig.TemplatePreset(preset)
	if err != nil {
		t.Fatal(err)
	}
	key := value("key")
	if preset == "standard-webhooks" {
		key = value("whsec_c2VjcmV0")
	}
	return &Template{Name: "k", Version: "1", Scheme: scheme, Keys: []secret.Value{key}, Clock: clock}
}

// TestTemplates: every preset, verified by the receiver's side.
func TestTemplates(t *testing.T) {
	for _, preset := range []string{"knoxcall", "github", "stripe", "slack", "standard-webhooks"} {
		for _, nonce := range []bool{false, true} {
			s := templateSigner(t, preset, nil)
			s.Nonce = nonce
			p, err := NewPlan(nil, s)
			if err != nil {
				t.Fatal(err)
			}
			h := request("/hook?b=2&a=1", "Content-Type: text/plain")
			for _, name := range s.Fields() {
				h.fields = append(h.fields, [2]string{strings.ToUpper(name), "the workload's"})
			}
			if !wants(t, p, h) {
				t.Errorf("%s signs no body", preset)
			}
			done := apply(t, p, h)
			m := hmacsig.Message{Method: h.method, Host: h.authority, Target: h.target, Body: bytes.NewReader([]byte("body"))}
			for _, f := range h.fields {
				m.Fields = append(m.Fields, hmacsig.Header{Name: f[0], Value: f[1]})
			}
			got, err := s.Scheme.Verify(s.Keys[0].Reveal(), &m)
			if err != nil || done.Signature.Scheme != preset || got.Nonce != "" && got.Nonce != done.Signature.Nonce {
				t.Errorf("%s: %v, %+v, record %+v\n%s", preset, err, got, done.Signature, h)
			}
		}
	}
}

// TestTwoKeys: while a key is replaced, whoever knows either is content.
func TestTwoKeys(t *testing.T) {
	s := templateSigner(t, "standard-webhooks", nil)
	s.Keys = append(s.Keys, value("whsec_bmV3"))
	p, err := NewPlan(nil, s)
	if err != nil {
		t.Fatal(err)
	}
	h := request("/hook")
	apply(t, p, h)
	for _, key := range s.Keys {
		m := hmacsig.Message{Body: strings.NewReader("body")}
		for _, f := range h.fields {
			m.Fields = append(m.Fields, hmacsig.Header{Name: f[0], Value: f[1]})
		}
		if _, err := s.Scheme.Verify(key.Reveal(), &m); err != nil {
			t.Errorf("%v\n%s", err, h)
		}
	}
	one := templateSigner(t, "github", nil)
	one.Keys = s.Keys
	if _, err := NewPlan(nil, one); !errors.Is(err, hmacsig.ErrTemplate) {
		t.Errorf("two signatures in a field for one: %v", err)
	}
	odd := templateSigner(t, "standard-webhooks", nil)
	odd.Keys = []secret.Value{value("whsec_not base64!")}
	if _, err := NewPlan(nil, odd); !errors.Is(err, hmacsig.ErrMalformed) {
		t.Errorf("a key that can't be read: %v", err)
	}
}

// TestTemplateWithoutBody waits for no content.
func TestTemplateWithoutBody(t *testing.T) {
	scheme, err := hmacsig.Template{
		Name: "own", Text: "{method} {host}{path}?{query.sorted} {timestamp}", Algorithm: "sha512", Encoding: "base64url", Time: "ms",
		Fields: []hmacsig.FieldTemplate{{Name: "X-Time", Value: "{timestamp}"}, {Name: "X-Sig", Value: "{signature}"}},
	}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan(nil, &Template{Name: "k", Scheme: scheme, Keys: []secret.Value{value("key")}})
	if err != nil {
		t.Fatal(err)
	}
	if wants(t, p, request("/")) {
		t.Error("content is gathered that nobody signs")
	}
}

func messageKey(t testing.TB) *httpsig.Key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := httpsig.PrivateKey("k1", httpsig.Ed25519, private)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func components(t testing.TB, names ...string) []httpsig.Component {
	t.Helper()
	list, err := httpsig.Components(names...)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func messageSigner(t testing.TB, clock *replay.Clock) *HTTPSig {
	t.Helper()
	return &HTTPSig{
		Name: "k", Version: "1", Key: messageKey(t), Label: "sig1", Tag: "app", Life: time.Minute, Digests: []string{"sha-256", "sha-512"},
		Components: components(t, "@method", "@target-uri", "content-digest"), Optional: components(t, "content-type", `"@query-param";name="id"`),
		Clock: clock,
	}
}

// message is what the receiver sees of h.
func message(h *head) *httpsig.Message {
	m := &httpsig.Message{Method: h.method, Authority: h.authority, Target: h.target}
	for _, f := range h.fields {
		m.Fields = append(m.Fields, httpsig.Field{Name: f[0], Value: f[1]})
	}
	return m
}

func TestMessageSignatures(t *testing.T) {
	s := messageSigner(t, nil)
	p, err := NewPlan(nil, s)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		h       *head
		covered int
	}{{request("/a?id=1", "Content-Type: text/plain"), 5}, {request("/a"), 3}} {
		tt.h.fields = append(tt.h.fields, [2]string{"Signature", "sig1=:AA==:"}, [2]string{"content-digest", "md5=:AA==:"})
		done := apply(t, p, tt.h)
		m := message(tt.h)
		v, err := httpsig.Verify(m, "", func(httpsig.Params) (*httpsig.Key, error) { return s.Key, nil }, httpsig.Policy{Tag: "app", Nonce: true}, now)
		if err != nil {
			t.Fatalf("%v\n%s", err, tt.h)
		}
		if len(v.Components) != tt.covered || v.Params.Nonce != done.Signature.Nonce || !v.Params.Expires.Equal(now.Add(time.Minute)) || v.Params.KeyID != "k1" {
			t.Errorf("covered %v, %+v", v.Components, v.Params)
		}
		if err := httpsig.CheckDigest(m, "content-digest", []byte("body")); err != nil {
			t.Errorf("%v\n%s", err, tt.h)
		}
		if d := tt.h.values("content-digest"); len(d) != 1 || !strings.Contains(d[0], "sha-256=:") || !strings.Contains(d[0], "sha-512=:") {
			t.Errorf("digests %q", d)
		}
	}
	missing := messageSigner(t, nil)
	missing.Components = components(t, "date")
	p, err = NewPlan(nil, missing)
	if err != nil {
		t.Fatal(err)
	}
	h := request("/a")
	if _, _, err := p.Apply(permit(p, h), h, Content{}, now); !errors.Is(err, flow.ReasonBadRequest) {
		t.Errorf("without the field that must be covered: %v", err)
	}
}

// TestOptionalIsCovered: what is covered where the request has it is not left out
// because the workload wrote it so that it can't be.
func TestOptionalIsCovered(t *testing.T) {
	s := messageSigner(t, nil)
	s.Optional = append(s.Optional, components(t, `"priority";sf`, `"priority";key="u"`)...)
	p, err := NewPlan(nil, s)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []*head{
		request("/a?id=1&id=2"), request("/a?id=%FF"), request("/a", "Content-Type: text/plain; name=\xe9"), request("/a", "Priority: u=("),
	} {
		if _, _, err := p.Apply(permit(p, h), h, Content{}, now); !errors.Is(err, flow.ReasonBadRequest) {
			t.Errorf("%v\n%s", err, h)
		}
	}
	for _, h := range []*head{request("/a?other=1"), request("/a", "Priority: i")} {
		if _, _, err := p.Apply(permit(p, h), h, Content{}, now); err != nil {
			t.Errorf("%v\n%s", err, h)
		}
	}
}

func TestWebBotAuth(t *testing.T) {
	s := messageSigner(t, nil)
	s.Bot, s.Agent, s.Life = true, "https://bot.example", time.Hour
	p, err := NewPlan(nil, s)
	if err != nil {
		t.Fatal(err)
	}
	h := request("/a", "Signature-Agent: \"https://other.example\"")
	if wants(t, p, h) {
		t.Error("content is gathered that nobody signs")
	}
	apply(t, p, h)
	v, err := httpsig.Verify(message(h), "", func(httpsig.Params) (*httpsig.Key, error) { return s.Key, nil },
		httpsig.Policy{Tag: httpsig.BotTag, Required: components(t, "@authority", "signature-agent"), Nonce: true}, now)
	if err != nil || len(v.Components) != 2 {
		t.Errorf("%v %v\n%s", err, v.Components, h)
	}
	if agents := h.values("signature-agent"); !slices.Equal(agents, []string{`"https://bot.example"`}) {
		t.Errorf("agents %q", agents)
	}
}

func TestMessageKeysThatAreRefused(t *testing.T) {
	public, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	verifies, err := httpsig.PublicKey("k", httpsig.ECDSAP256SHA256, public.Public())
	if err != nil {
		t.Fatal(err)
	}
	// The shared key of RFC 9421 appendix B.1.5 is known to everybody.
	shared, err := base64.StdEncoding.DecodeString("uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==")
	if err != nil {
		t.Fatal(err)
	}
	example, err := httpsig.SharedKey("k", secret.New(shared))
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]*httpsig.Key{"none": nil, "a public one": verifies} {
		if _, err := NewPlan(nil, &HTTPSig{Name: "k", Key: key, Label: "a"}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if _, err := NewPlan(nil, &HTTPSig{Name: "k", Key: example, Label: "a"}); !errors.Is(err, ErrExampleKey) {
		t.Errorf("a key that is public: %v", err)
	}
}

// TestReplaysAreRefused: the workload's own signature is good once, by any scheme,
// and what can't be remembered is refused.
func TestReplaysAreRefused(t *testing.T) {
	const window = 15 * time.Minute
	for name, s := range map[string]Signer{
		"sigv4": &SigV4{Keys: []AWSKey{awsKey(realID, "")}}, "hmac": signer(t, true),
		"template": templateSigner(t, "stripe", nil), "httpsig": messageSigner(t, nil),
	} {
		seen, err := replay.Open(replay.Options{Window: window, Capacity: 2, Now: now.Add(-2 * window)})
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPlan(nil, s)
		if err != nil {
			t.Fatal(err)
		}
		p.RefuseReplays(seen, "route")
		if err := p.Admit(request("/x"), now); err != nil {
			t.Errorf("%s: without a signature: %v", name, err)
		}
		signed := func(signature string) *head {
			h := request("/x", "X-Signature: sha256="+signature, "Stripe-Signature: t=1,v1="+signature, "Signature: s=:"+signature+":")
			if name == "sigv4" {
				h.target = "/" + signature
				dummy(t, h, "s3", "UNSIGNED-PAYLOAD", false)
			}
			return h
		}
		if err := p.Admit(signed("aa"), now); err != nil {
			t.Errorf("%s: the first time: %v", name, err)
		}
		if err := p.Admit(signed("aa"), now); !errors.Is(err, flow.ReasonReplayed) || !errors.Is(err, replay.ErrReplayed) {
			t.Errorf("%s: the second time: %v", name, err)
		}
		if err := p.Admit(signed("bb"), now); err != nil {
			t.Errorf("%s: another: %v", name, err)
		}
		if err := p.Admit(signed("cc"), now); !errors.Is(err, flow.ReasonReplayUnknown) || !errors.Is(err, replay.ErrFull) {
			t.Errorf("%s: with no room: %v", name, err)
		}
	}
}

// TestHostByEitherVersion: a signature over Host is the same by HTTP/2, where it is
// :authority, and cookies are one field there, however many lines they came in
// (RFC 9113 section 8.2.3).
func TestHostByEitherVersion(t *testing.T) {
	scheme, err := hmacsig.Template{
		Name: "t", Text: "{header:host} {header:cookie} {timestamp}", Algorithm: "sha256", Encoding: "hex",
		Fields: []hmacsig.FieldTemplate{{Name: "X-Time", Value: "{timestamp}"}, {Name: "X-Sig", Value: "{signature}"}},
	}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	shared, err := httpsig.SharedKey("k", value("shared"))
	if err != nil {
		t.Fatal(err)
	}
	components, err := httpsig.Components("host", "cookie")
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan(nil, &Template{Name: "k", Scheme: scheme, Keys: []secret.Value{value("key")}},
		&HTTPSig{Name: "k", Key: shared, Label: "sig1", Components: components})
	if err != nil {
		t.Fatal(err)
	}
	for version, lines := range map[string][]string{
		"1.1": {"Host: api.partner.example", "Cookie: a=1; b=2"}, "2": {"cookie: a=1", "cookie: b=2"},
	} {
		h := request("/x", lines...)
		apply(t, p, h)
		read := []hmacsig.Header{{Name: "Host", Value: h.authority}, {Name: "Cookie", Value: "a=1; b=2"}} // by a server
		m := httpsig.Message{Method: h.method, Authority: h.authority, Target: h.target}
		for _, f := range h.fields {
			if name := strings.ToLower(f[0]); name != "host" && name != "cookie" {
				read = append(read, hmacsig.Header{Name: f[0], Value: f[1]})
			}
		}
		for _, f := range read {
			m.Fields = append(m.Fields, httpsig.Field(f))
		}
		if _, err := scheme.Verify([]byte("key"), &hmacsig.Message{Host: h.authority, Fields: read}); err != nil {
			t.Errorf("HTTP/%s: template: %v\n%s", version, err, h)
		}
		if _, err := scheme.Verify([]byte("key"), &hmacsig.Message{Host: h.authority, Fields: read[1:]}); err != nil {
			t.Errorf("HTTP/%s: template, Host apart: %v", version, err)
		}
		if _, err := httpsig.Verify(&m, "sig1", func(httpsig.Params) (*httpsig.Key, error) { return shared, nil }, httpsig.Policy{}, now); err != nil {
			t.Errorf("HTTP/%s: message signature: %v\n%s", version, err, h)
		}
	}
}
