package verify

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/hmacsig"
	"github.com/outwarden/outwarden/pkg/httpsig"
	"github.com/outwarden/outwarden/pkg/replay"
	"github.com/outwarden/outwarden/pkg/secret"
	"github.com/outwarden/outwarden/pkg/sigv4"
)

const (
	window = 5 * time.Minute
	skew   = time.Minute
	body   = `{"amount":100,"to":"acme"}`
)

var start = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// sender is one scheme: how its requests are signed, and who checks them.
type sender struct {
	name   string
	scheme Scheme
	sign   func(t testing.TB, at time.Time) Request
	// timeless senders sign no time.
	timeless bool
	// host reports whether the signature covers the host.
	host bool
	// line reports whether it covers method and target.
	line bool
}

func plain() Request {
	return Request{
		Method: "POST", Target: "/v1//transfers/%E2%82%AC?b=2&a=1", Host: "api.partner.example", Body: []byte(body),
		Fields: []Field{{"Content-Type", "application/json"}},
	}
}

func value(s string) secret.Value { return secret.New([]byte(s)) }

func hmacSender(t testing.TB, preset string, nonce bool) sender {
	t.Helper()
	scheme, err := hmacsig.TemplatePreset(preset)
	if err != nil {
		t.Fatal(err)
	}
	key := "a key"
	if preset == "standard-webhooks" {
		key = "whsec_" + base64.StdEncoding.EncodeToString([]byte("a key of the webhook's"))
	}
	sign := func(t testing.TB, at time.Time) Request {
		r := plain()
		if preset != "knoxcall" {
			r.Fields = nil // it covers none
		}
		m := hmacsig.Message{Method: r.Method, Target: r.Target, Host: r.Host, Time: at, Body: strings.NewReader(body)}
		for _, f := range r.Fields {
			m.Fields = append(m.Fields, hmacsig.Header(f))
		}
		if nonce {
			m.Nonce = hmacsig.NewNonce()
		}
		fields, err := scheme.Sign([]byte(key), &m)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fields {
			r.Fields = append(r.Fields, Field(f))
		}
		return r
	}
	old := SharedKey{"old", value("d2hzZWNfb2xk")}
	return sender{preset, &HMAC{scheme, []SharedKey{old, {"new", value(key)}}}, sign, preset == "github", false, preset == "knoxcall"}
}

func httpsigSender(t testing.TB, key *httpsig.Key) sender {
	t.Helper()
	components, err := httpsig.Components("@method", "@target-uri", "content-type", "content-digest")
	if err != nil {
		t.Fatal(err)
	}
	sign := func(t testing.TB, at time.Time) Request {
		r := plain()
		digest, err := httpsig.Digest(r.Body, "sha-256")
		if err != nil {
			t.Fatal(err)
		}
		r.Fields = append(r.Fields, Field{"Content-Digest", digest})
		m := httpsig.Message{Method: r.Method, Authority: r.Host, Target: r.Target}
		for _, f := range r.Fields {
			m.Fields = append(m.Fields, httpsig.Field(f))
		}
		s := httpsig.Signer{Label: "sig1", Key: key, Components: components}
		fields, err := s.Sign(&m, httpsig.Params{Created: at, Nonce: hmacsig.NewNonce()})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fields {
			r.Fields = append(r.Fields, Field(f))
		}
		return r
	}
	return sender{"httpsig " + string(key.Algorithm()), &HTTPSig{Keys: []*httpsig.Key{key}}, sign, false, true, true}
}

func httpsigKeys(t testing.TB) []*httpsig.Key {
	t.Helper()
	shared, err := httpsig.SharedKey("k", value("shared"))
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keys := []*httpsig.Key{shared}
	for _, pair := range []struct {
		alg httpsig.Algorithm
		key crypto.Signer
	}{{httpsig.Ed25519, ed}, {httpsig.ECDSAP256SHA256, ec}, {httpsig.RSAPSSSHA512, rs}, {httpsig.RSAV15SHA256, rs}} {
		k, err := httpsig.PrivateKey("k", pair.alg, pair.key)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	return keys
}

func credentials() sigv4.Credentials {
	return sigv4.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretKey: value("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")}
}

// awsSender signs with payload; streaming bodies are cut into chunks of 8 KiB.
func awsSender(name, payload string, presigned bool) sender {
	s := &sigv4.Signer{Credentials: credentials(), Region: "eu-west-1", Service: "s3"}
	if payload == "" {
		s.Service = "execute-api"
	}
	sign := func(t testing.TB, at time.Time) Request {
		t.Helper()
		r := plain()
		sum := payload
		if sum == "" {
			sum = sha256Hex(r.Body)
		}
		request := sigv4.Request{Method: r.Method, Target: r.Target, Fields: []sigv4.Field{{Name: "Host", Value: r.Host}, {Name: "Content-Type", Value: "application/json"}}}
		var got sigv4.Signature
		var err error
		if presigned {
			got, err = s.Presign(&request, sum, at, time.Hour)
		} else {
			got, err = s.Sign(&request, sum, at)
		}
		if err != nil {
			t.Fatal(err)
		}
		r.Target = got.Target
		for _, f := range got.Set {
			r.Fields = append(r.Fields, Field(f))
		}
		r.Body = chunked(t, payload, &got)
		return r
	}
	return sender{name, &SigV4{Keys: []sigv4.Credentials{credentials()}}, sign, false, true, true}
}

func chunked(t testing.TB, payload string, s *sigv4.Signature) []byte {
	t.Helper()
	if !strings.HasPrefix(payload, "STREAMING") {
		return []byte(body)
	}
	var trailers func() []sigv4.Field
	if payload == sigv4.StreamingPayloadTrailer {
		trailers = func() []sigv4.Field { return []sigv4.Field{{Name: "x-amz-checksum-crc32c", Value: "sOO8/Q=="}} }
	}
	var out strings.Builder
	e, err := sigv4.NewEncoder(&out, s.Chain(), 16, trailers)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return []byte(out.String())
}

func senders(t testing.TB) []sender {
	t.Helper()
	all := []sender{
		hmacSender(t, "knoxcall", true), hmacSender(t, "github", false), hmacSender(t, "stripe", false),
		hmacSender(t, "slack", false), hmacSender(t, "standard-webhooks", true),
		awsSender("sigv4 header", "", false), awsSender("sigv4 chunks", sigv4.StreamingPayload, false),
		awsSender("sigv4 chunks and trailer", sigv4.StreamingPayloadTrailer, false), awsSender("sigv4 presigned", "", true),
	}
	for _, k := range httpsigKeys(t) {
		all = append(all, httpsigSender(t, k))
	}
	return all
}

func verifier(t testing.TB, s *sender, seen *replay.Cache, now time.Time) *Verifier {
	t.Helper()
	v, err := New(s.scheme, Options{Window: window, Skew: skew, Seen: seen, Timeless: s.timeless, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func open(t testing.TB, path string, capacity int, now time.Time) *replay.Cache {
	t.Helper()
	c, err := replay.Open(replay.Options{Path: path, Window: window, Skew: skew, Capacity: capacity, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestRefused: what must be true of every scheme.
func TestRefused(t *testing.T) {
	for _, s := range senders(t) {
		t.Run(strings.ReplaceAll(s.name, " ", "_"), func(t *testing.T) {
			t.Run("window", func(t *testing.T) { testWindow(t, &s) })
			t.Run("replay", func(t *testing.T) { testReplay(t, &s) })
			t.Run("full", func(t *testing.T) { testFull(t, &s) })
			t.Run("changed", func(t *testing.T) { testChanged(t, &s) })
		})
	}
}

func testWindow(t *testing.T, s *sender) {
	r := s.sign(t, start)
	for _, tt := range []struct {
		now  time.Time
		want error
	}{
		{start, nil}, {start.Add(window), nil}, {start.Add(-skew), nil},
		{start.Add(window + time.Second), replay.ErrStale}, {start.Add(-skew - time.Second), replay.ErrEarly},
	} {
		if s.timeless {
			tt.want = nil
		}
		p, err := verifier(t, s, nil, tt.now).Verify(&r)
		if !errors.Is(err, tt.want) {
			t.Errorf("at %s: %v, want %v", tt.now.Sub(start), err, tt.want)
		}
		if err == nil && !s.timeless && !p.Time.Equal(start) {
			t.Errorf("signed at %s, proven is %s", start, p.Time)
		}
	}
	if !s.timeless {
		return
	}
	strict, err := New(s.scheme, Options{Window: window, Skew: skew})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strict.Verify(&r); !errors.Is(err, ErrUntimed) {
		t.Errorf("without a time: %v", err)
	}
}

// testReplay: the second time is refused, also by the next process.
func testReplay(t *testing.T, s *sender) {
	path := filepath.Join(t.TempDir(), "seen")
	seen := open(t, path, 16, start.Add(-time.Hour))
	r, other := s.sign(t, start), s.sign(t, start.Add(time.Second))
	if s.timeless {
		other.Body = []byte("other")
		other = resign(t, s, other)
	}
	v := verifier(t, s, seen, start)
	if _, err := v.Verify(&r); err != nil {
		t.Fatalf("the first time: %v", err)
	}
	if _, err := v.Verify(&r); !errors.Is(err, replay.ErrReplayed) {
		t.Errorf("the second time: %v", err)
	}
	if _, err := v.Verify(&other); err != nil {
		t.Errorf("another request: %v", err)
	}
	if err := seen.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(&r); err == nil {
		t.Error("accepted although nothing can be remembered any more")
	}
	again := open(t, path, 16, start.Add(time.Second))
	defer again.Close()
	if _, err := verifier(t, s, again, start.Add(time.Second)).Verify(&r); !errors.Is(err, replay.ErrReplayed) {
		t.Errorf("after a restart: %v", err)
	}
}

// resign signs a body that is not the usual one, for github, whose signature says
// nothing else.
func resign(t *testing.T, s *sender, r Request) Request {
	t.Helper()
	h := s.scheme.(*HMAC)
	fields, err := h.Scheme.Sign(h.Keys[1].Value.Reveal(), &hmacsig.Message{Method: r.Method, Target: r.Target, Body: strings.NewReader(string(r.Body))})
	if err != nil {
		t.Fatal(err)
	}
	r.Fields = nil
	for _, f := range fields {
		r.Fields = append(r.Fields, Field(f))
	}
	return r
}

func testFull(t *testing.T, s *sender) {
	seen := open(t, "", 1, start.Add(-time.Hour))
	if s.name == "knoxcall" || s.name == "standard-webhooks" || strings.HasPrefix(s.name, "httpsig") {
		seen = open(t, "", 2, start.Add(-time.Hour)) // signature and nonce
	}
	v := verifier(t, s, seen, start)
	r, other := s.sign(t, start), s.sign(t, start.Add(time.Second))
	if s.timeless {
		other.Body = []byte("other")
		other = resign(t, s, other)
	}
	if _, err := v.Verify(&r); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(&other); !errors.Is(err, replay.ErrFull) {
		t.Errorf("with the cache full: %v", err)
	}
}

// testChanged: a byte, anywhere that the signature covers or stands in.
func testChanged(t *testing.T, s *sender) {
	r := s.sign(t, start)
	v := verifier(t, s, nil, start)
	if _, err := v.Verify(&r); err != nil {
		t.Fatal(err)
	}
	tried := 0
	refused := func(what string, bad Request) {
		t.Helper()
		tried++
		if _, err := v.Verify(&bad); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	each := func(what, text string, set func(*Request, string)) {
		for i := range len(text) {
			b := []byte(text)
			b[i] ^= 1
			bad := r
			bad.Fields = append([]Field(nil), r.Fields...)
			set(&bad, string(b))
			refused(what+" "+string(b), bad)
		}
	}
	each("body", string(r.Body), func(r *Request, s string) { r.Body = []byte(s) })
	for i, f := range r.Fields {
		each(f.Name, f.Value, func(r *Request, s string) { r.Fields[i].Value = s })
	}
	if s.line {
		each("method", r.Method, func(r *Request, s string) { r.Method = s })
		each("target", r.Target, func(r *Request, s string) { r.Target = s })
	}
	if s.host {
		each("host", r.Host, func(r *Request, s string) { r.Host = s })
	}
	for name, bad := range map[string][]byte{"longer": append([]byte("x"), r.Body...), "cut": r.Body[1:], "none": nil} {
		other := r
		other.Body = bad
		refused("body "+name, other)
	}
	if tried < 100 {
		t.Errorf("%d changes were tried", tried)
	}
}
