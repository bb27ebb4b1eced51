package verify

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/hmacsig"
	"github.com/outwarden/outwarden/pkg/httpsig"
	"github.com/outwarden/outwarden/pkg/secret"
	"github.com/outwarden/outwarden/pkg/sigv4"
)

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
