package sigv4

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/secret"
)

var (
	at    = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	creds = Credentials{AccessKeyID: "AKIDEXAMPLE", SecretKey: secret.New([]byte("key")), SessionToken: secret.New([]byte("tok/en=="))}
)

func signer(service string) *Signer {
	return &Signer{Credentials: creds, Region: "eu-west-1", Service: service}
}

func request() Request {
	return Request{"PUT", "/bucket/a%20key?partNumber=1&uploadId=x%2Fy", []Field{
		{"Host", "s3.example"}, {"Content-Type", "text/plain"}, {"User-Agent", "x"}, {"X-Amz-Acl", "private"},
		{"Authorization", "AWS4-HMAC-SHA256 old"}, {"x-amz-date", "20000101T000000Z"}, {"X-Amz-Content-Sha256", UnsignedPayload},
	}}
}

func TestSignSets(t *testing.T) {
	r := request()
	got, err := signer("s3").Sign(&r, UnsignedPayload, at)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, f := range got.Set {
		names[f.Name] = f.Value
	}
	if names["X-Amz-Date"] != "20260504T030201Z" || names["X-Amz-Content-Sha256"] != UnsignedPayload ||
		names["X-Amz-Security-Token"] != "tok/en==" || len(got.Set) != 4 {
		t.Errorf("set %v", got.Set)
	}
	want := "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260504/eu-west-1/s3/aws4_request, SignedHeaders=content-type;host;x-amz-acl;" +
		"x-amz-content-sha256;x-amz-date;x-amz-security-token, Signature=" + got.Value
	if names["Authorization"] != want {
		t.Errorf("authorization %q", names["Authorization"])
	}
	plain, err := signer("execute-api").Sign(&Request{"GET", "/", []Field{{"Host", "h"}}}, EmptyPayload, at)
	if err != nil || len(plain.Set) != 3 {
		t.Errorf("no hash field where no one asked: %v, %v", plain.Set, err)
	}
}

// TestSignDropsPresigned: a request that came presigned leaves with one signature.
func TestSignDropsPresigned(t *testing.T) {
	s := signer("s3")
	r := Request{"GET", "/b/k?versionId=3", []Field{{"Host", "h"}}}
	pre, err := s.Presign(&r, UnsignedPayload, at, time.Hour)
	if err != nil || !strings.HasPrefix(pre.Target, "/b/k?versionId=3&X-Amz-Algorithm=") {
		t.Fatalf("%q, %v", pre.Target, err)
	}
	again, err := s.Sign(&Request{"GET", pre.Target, r.Fields}, UnsignedPayload, at)
	if err != nil || again.Target != r.Target {
		t.Errorf("target %q, %v", again.Target, err)
	}
	twice, err := s.Presign(&Request{"GET", pre.Target, r.Fields}, UnsignedPayload, at, time.Hour)
	if err != nil || twice.Target != pre.Target {
		t.Errorf("presigned anew: %q, %v", twice.Target, err)
	}
	bare, err := s.Sign(&Request{"GET", "/b/k?" + strings.TrimPrefix(pre.Target, "/b/k?versionId=3&"), r.Fields}, UnsignedPayload, at)
	if err != nil || bare.Target != "/b/k" {
		t.Errorf("target %q, %v", bare.Target, err)
	}
	asks, err := s.Sign(&Request{"GET", "/b/k?prefix=what?&" + strings.TrimPrefix(pre.Target, "/b/k?versionId=3&"), r.Fields}, UnsignedPayload, at)
	if err != nil || asks.Target != "/b/k?prefix=what?" {
		t.Errorf("target %q, %v", asks.Target, err)
	}
}

func TestSignRefuses(t *testing.T) {
	good := request()
	for name, tt := range map[string]struct {
		s       *Signer
		r       Request
		payload string
		want    error
	}{
		"no host":      {signer("s3"), Request{"GET", "/", nil}, EmptyPayload, ErrHost},
		"two hosts":    {signer("s3"), Request{"GET", "/", []Field{{"Host", "a"}, {"host", "b"}}}, EmptyPayload, ErrHost},
		"line break":   {signer("s3"), Request{"GET", "/\n", good.Fields}, EmptyPayload, ErrMalformed},
		"no method":    {signer("s3"), Request{"", "/", good.Fields}, EmptyPayload, ErrMalformed},
		"payload":      {signer("s3"), good, "abc", ErrMalformed},
		"sigv4a":       {signer("s3"), good, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER", ErrSigV4A},
		"region":       {&Signer{Credentials: creds, Region: "a/b", Service: "s3"}, good, EmptyPayload, ErrMalformed},
		"no service":   {&Signer{Credentials: creds, Region: "a"}, good, EmptyPayload, ErrMalformed},
		"no key":       {&Signer{Credentials: Credentials{AccessKeyID: "a"}, Region: "a", Service: "s3"}, good, EmptyPayload, ErrMalformed},
		"token breaks": {&Signer{Credentials: Credentials{"a", creds.SecretKey, secret.New([]byte("a\r\nb"))}, Region: "a", Service: "s3"}, good, EmptyPayload, ErrMalformed},
	} {
		if _, err := tt.s.Sign(&tt.r, tt.payload, at); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	for _, life := range []time.Duration{0, time.Millisecond, MaxExpires + time.Second} {
		if _, err := signer("s3").Presign(&good, UnsignedPayload, at, life); !errors.Is(err, ErrMalformed) {
			t.Errorf("life of %s: %v", life, err)
		}
	}
}

// TestNothingPrints: the key and the token are in no error and no printed value.
func TestNothingPrints(t *testing.T) {
	s := signer("s3")
	s.Credentials.SecretKey = secret.New([]byte("sehrgeheim"))
	if out := fmt.Sprintf("%+v %#v %v", s, s.Credentials, *s); strings.Contains(out, "sehrgeheim") || strings.Contains(out, "tok/en") {
		t.Error(out)
	}
}

func BenchmarkSign(b *testing.B) {
	s, r := signer("s3"), request()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Sign(&r, EmptyPayload, at); err != nil {
			b.Fatal(err)
		}
	}
}
