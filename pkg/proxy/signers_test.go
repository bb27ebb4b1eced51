package proxy_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/hmacsig"
	"github.com/outwarden/outwarden/pkg/httpsig"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/replay"
	"github.com/outwarden/outwarden/pkg/secret"
	"github.com/outwarden/outwarden/pkg/sigv4"
	"github.com/outwarden/outwarden/pkg/verify"
)

// signed is a signer of a route and how the partner checks it.
type signed struct {
	name   string
	signer inject.Signer
	check  verify.Scheme
	// prepare makes of a request what the workload sends.
	prepare func(t testing.TB, r *http.Request, body string) string
	untimed bool
}

func rising() *replay.Clock { return replay.NewClock(time.Second, 30*time.Second, nil) }

func hmacSigned(t testing.TB, preset string, nonce bool) signed {
	t.Helper()
	scheme, err := hmacsig.TemplatePreset(preset)
	must(t, err)
	key := secret.New([]byte("a shared key"))
	if preset == "standard-webhooks" {
		key = secret.New([]byte("whsec_c2hhcmVk"))
	}
	s := signed{name: preset, check: &verify.HMAC{Scheme: scheme, Keys: []verify.SharedKey{{ID: "k", Value: key}}}, untimed: preset == "github"}
	if preset == "knoxcall" {
		fast, err := hmacsig.Preset(preset)
		must(t, err)
		s.signer = &inject.HMAC{Name: "k", Scheme: fast, Key: key, Nonce: nonce, Clock: rising()}
		return s
	}
	s.signer = &inject.Template{Name: "k", Scheme: scheme, Keys: []secret.Value{key}, Nonce: nonce, Clock: rising()}
	return s
}

func messageSigned(t testing.TB, key *httpsig.Key) signed {
	t.Helper()
	covered, err := httpsig.Components("@method", "@target-uri", "content-digest")
	must(t, err)
	return signed{
		name: string(key.Algorithm()),
		signer: &inject.HTTPSig{
			Name: "k", Key: key, Label: "sig1", Components: covered, Digests: []string{"sha-256", "sha-512"}, Life: time.Minute, Clock: rising(),
		},
		check: &verify.HTTPSig{Keys: []*httpsig.Key{key}, Nonce: true},
	}
}

func messageKeys(t testing.TB) []*httpsig.Key {
	t.Helper()
	shared, err := httpsig.SharedKey("k", secret.New([]byte("a shared key")))
	must(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	one, err := httpsig.PrivateKey("k", httpsig.Ed25519, ed)
	must(t, err)
	two, err := httpsig.PrivateKey("k", httpsig.ECDSAP256SHA256, ec)
	must(t, err)
	three, err := httpsig.PrivateKey("k", httpsig.RSAPSSSHA512, rs)
	must(t, err)
	four, err := httpsig.PrivateKey("k", httpsig.RSAV15SHA256, rs)
	must(t, err)
	return []*httpsig.Key{shared, one, two, three, four}
}

var (
	realKey  = sigv4.Credentials{AccessKeyID: "AKIDREAL", SecretKey: secret.New([]byte("real"))}
	dummyKey = sigv4.Credentials{AccessKeyID: "AKIDDUMMY", SecretKey: secret.New([]byte("made up"))}
)

// awsSigned is a workload whose SDK signs with a placeholder key.
func awsSigned(payload string, presigned bool) signed {
	route := &inject.SigV4{Clock: rising(), Keys: []inject.AWSKey{{
		Name: "aws", Credentials: realKey, Placeholder: dummyKey.AccessKeyID, Regions: []string{"eu-west-1"}, Services: []string{"s3"},
	}}}
	s := signed{name: "sigv4 " + payload, signer: route, check: &verify.SigV4{Keys: []sigv4.Credentials{realKey}, Unsigned: true}}
	if presigned {
		s.name = "sigv4 presigned"
	}
	s.prepare = func(t testing.TB, r *http.Request, body string) string {
		t.Helper()
		sum := payload
		if sum == "" {
			sum = sigv4.Sum([]byte(body))
		}
		sdk := sigv4.Signer{Credentials: dummyKey, Region: "eu-west-1", Service: "s3"}
		request := sigv4.Request{Method: r.Method, Target: r.URL.RequestURI(), Fields: []sigv4.Field{{Name: "Host", Value: host}}}
		if presigned {
			got, err := sdk.Presign(&request, sigv4.UnsignedPayload, time.Now(), time.Minute)
			must(t, err)
			r.URL, err = url.Parse("https://" + host + got.Target)
			must(t, err)
			return body
		}
		if strings.HasPrefix(payload, "STREAMING-AWS4") {
			r.Header.Set("X-Amz-Decoded-Content-Length", fmt.Sprint(len(body)))
			request.Fields = append(request.Fields, sigv4.Field{Name: "X-Amz-Decoded-Content-Length", Value: fmt.Sprint(len(body))})
		}
		got, err := sdk.Sign(&request, sum, time.Now())
		must(t, err)
		for _, f := range got.Set {
			r.Header.Set(f.Name, f.Value)
		}
		return awsChunked(t, payload, body, got.Chain())
	}
	return s
}

func awsChunked(t testing.TB, payload, body string, chain *sigv4.Chain) string {
	t.Helper()
	if !strings.HasPrefix(payload, "STREAMING-AWS4") {
		return body
	}
	var out strings.Builder
	var trailers func() []sigv4.Field
	if payload == sigv4.StreamingPayloadTrailer {
		trailers = func() []sigv4.Field { return []sigv4.Field{{Name: "x-amz-checksum-crc32c", Value: "sOO8/Q=="}} }
	}
	e, err := sigv4.NewEncoder(&out, chain, 64<<10, trailers)
	must(t, err)
	_, err = io.WriteString(e, body)
	must(t, err)
	must(t, e.Close())
	return out.String()
}

// strict is an origin that checks signatures and that none comes twice; it answers
// with the body, as it came.
func (w *world) strict(t testing.TB, s *signed) *origin {
	t.Helper()
	w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	seen, err := replay.Open(replay.Options{Window: signWindow, Skew: signWindow, Capacity: 1000, Now: time.Now().Add(-2 * signWindow)})
	must(t, err)
	v, err := verify.New(s.check, verify.Options{Window: signWindow, Skew: signWindow, Seen: seen, Timeless: s.untimed})
	must(t, err)
	return newHTTPOrigin(t, w.partner.leaf(t, []string{host}), v.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	})))
}

func (w *world) signing(t testing.TB, s inject.Signer) rule {
	t.Helper()
	plan, err := inject.NewPlan(nil, s)
	must(t, err)
	return w.partnerRoute(func(r *rule) { r.plan.Inject = plan })
}
