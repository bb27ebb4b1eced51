package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/replay"
	"github.com/outwarden/outwarden/pkg/sigv4"
)

const (
	signWindow = 5 * time.Minute
	signBody   = "what is to be signed"
)

// TestSigned: a partner that verifies, and remembers, takes every request of a
// workload that knows nothing of signatures, or has a placeholder key alone; small
// ones and large, with no content and with many chunks.
func TestSigned(t *testing.T) {
	all := []signed{
		hmacSigned(t, "knoxcall", true), hmacSigned(t, "knoxcall", false), hmacSigned(t, "github", false), hmacSigned(t, "stripe", false),
		hmacSigned(t, "slack", false), hmacSigned(t, "standard-webhooks", false),
		awsSigned("", false), awsSigned(sigv4.UnsignedPayload, false), awsSigned(sigv4.StreamingPayload, false),
		awsSigned(sigv4.StreamingPayloadTrailer, false), awsSigned("", true),
	}
	for _, key := range messageKeys(t) {
		all = append(all, messageSigned(t, key))
	}
	for _, s := range all {
		for _, alpn := range versions {
			t.Run(strings.ReplaceAll(s.name, " ", "_")+"/"+alpn, func(t *testing.T) {
				w := newWorld(t)
				o := w.strict(t, &s)
				w.use(policy.Intercept, w.signing(t, s.signer))
				for i, body := range []string{signBody, "", strings.Repeat("0123456789", 30_000)} {
					r := mustRequest(t, "PUT", fmt.Sprintf("https://%s/v1//a%%20b/%d?b=2&a=%%2F", host, i), nil)
					if s.prepare != nil {
						body = s.prepare(t, r, body)
					}
					r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
					res := w.do(o, alpn, r)
					got, err := io.ReadAll(res.Body)
					must(t, err)
					if res.StatusCode != 200 || len(got) != len(body) {
						t.Errorf("%d bytes: %d %.200s", len(body), res.StatusCode, got)
					}
				}
			})
		}
	}
}

var freshness = regexp.MustCompile(`(?i)(?:x-nonce|x-timestamp|x-amz-date|signature-input): ([^\r\n]+)`)

// TestRetriesAreSignedAfresh: an upstream that drops the first try sees two
// different signatures, times and nonces.
func TestRetriesAreSignedAfresh(t *testing.T) {
	for _, s := range []signed{hmacSigned(t, "knoxcall", true), messageSigned(t, messageKeys(t)[1]), awsSigned(sigv4.UnsignedPayload, false)} {
		t.Run(strings.ReplaceAll(s.name, " ", "_"), func(t *testing.T) {
			w := newWorld(t)
			o := w.originFor(func(conn net.Conn) { // every connection breaks on its second request
				r := newReader(conn)
				if r.request() {
					_, _ = io.WriteString(conn, okResponse)
				}
				_ = r.request()
			}, host)
			w.use(policy.Intercept, w.signing(t, s.signer))
			for range 2 {
				if got := w.say(o, "PUT /v1/x HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 3\r\n\r\nabc"); got != okResponse {
					t.Fatal(got)
				}
			}
			w.quiet()
			differ(t, string(o.got()), 3)
		})
	}
}

// differ wants n requests, each with values of its own.
func differ(t *testing.T, got string, n int) {
	t.Helper()
	seen := map[string]bool{}
	requests := strings.Split(got, "PUT /v1/x")[1:]
	if len(requests) != n {
		t.Fatalf("%d requests came, want %d", len(requests), n)
	}
	for _, r := range requests {
		values := freshness.FindAllString(r, -1)
		if len(values) == 0 {
			t.Errorf("no time and no nonce in %q", r)
		}
		for _, v := range values {
			if seen[strings.ToLower(v)] {
				t.Errorf("%s came twice", v)
			}
			seen[strings.ToLower(v)] = true
		}
	}
}

// TestRefusedStreamsAreSignedAfresh is the same over HTTP/2.
func TestRefusedStreamsAreSignedAfresh(t *testing.T) {
	w := newWorld(t)
	s := hmacSigned(t, "knoxcall", true)
	var conns atomic.Int32
	var nonces, times atomic.Value
	o := w.originFor(func(conn net.Conn) {
		if conns.Add(1) == 1 {
			resetFirst(conn, http2.ErrCodeRefusedStream, 0)
			return
		}
		(&http2.Server{}).ServeConn(conn, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			nonces.Store(r.Header.Get("X-Nonce"))
			times.Store(r.Header.Get("X-Timestamp"))
		})})
	}, host)
	o.config.NextProtos = []string{"h2"}
	w.use(policy.Intercept, w.signing(t, s.signer))
	if res := w.do(o, "h2", mustRequest(t, "GET", "https://"+host+"/", nil)); res.StatusCode != 200 {
		t.Fatalf("status %d", res.StatusCode)
	}
	intents := w.awaitKind("credential", 2)
	first, second := intents[0].Signature, intents[1].Signature
	if first.Nonce == second.Nonce || first.Timestamp >= second.Timestamp {
		t.Errorf("tried with %+v and then %+v", first, second)
	}
	if nonces.Load() != second.Nonce || times.Load() != fmt.Sprint(second.Timestamp) {
		t.Errorf("the origin took %v at %v, the trail says %+v", nonces.Load(), times.Load(), second)
	}
}

// TestExpectContinue: who waits to be asked for the content is asked: by us where
// the content is signed as a whole, by the upstream where it passes.
func TestExpectContinue(t *testing.T) {
	for _, s := range []signed{hmacSigned(t, "knoxcall", true), awsSigned(sigv4.StreamingPayload, false), awsSigned("", false)} {
		t.Run(strings.ReplaceAll(s.name, " ", "_"), func(t *testing.T) {
			w := newWorld(t)
			o := w.strict(t, &s)
			w.use(policy.Intercept, w.signing(t, s.signer))
			r := mustRequest(t, "PUT", "https://"+host+"/v1/x", nil)
			body := signBody
			if s.prepare != nil {
				body = s.prepare(t, r, body)
			}
			head := "PUT /v1/x HTTP/1.1\r\nHost: " + host + "\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: " + fmt.Sprint(len(body)) + "\r\n"
			for name, values := range r.Header {
				head += name + ": " + values[0] + "\r\n"
			}
			c := w.tls(as{original: o.addr}, host)
			_, err := io.WriteString(c, head+"\r\n")
			must(t, err)
			const invited = "HTTP/1.1 100 Continue\r\n\r\n"
			got := make([]byte, len(invited))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != invited {
				t.Fatalf("%v %q", err, got)
			}
			if answer := talk(t, c, body); statusOf(answer) != 200 || !strings.Contains(answer, signBody) {
				t.Errorf("answer %q", answer)
			}
		})
	}
}

// TestTamperedChunks: content that does not keep to its framing never becomes a
// whole request, and nothing of the real key is in the answer.
func TestTamperedChunks(t *testing.T) {
	for _, alpn := range versions {
		w := newWorld(t)
		s := awsSigned(sigv4.StreamingPayload, false)
		whole := atomic.Int32{}
		w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err == nil {
				whole.Add(1)
			}
		}))
		w.use(policy.Intercept, w.signing(t, s.signer))
		r := mustRequest(t, "PUT", "https://"+host+"/v1/x", nil)
		body := []byte(s.prepare(t, r, strings.Repeat("x", 100_000)))
		at := bytes.LastIndex(body, []byte(";chunk-signature="))
		body[at] = '!'
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		res, err := w.roundTripper(w.tls(as{original: o.addr}, host, alpn)).RoundTrip(r)
		if err == nil {
			if res.StatusCode < 400 {
				t.Errorf("%s: status %d", alpn, res.StatusCode)
			}
			_ = res.Body.Close()
		}
		w.awaitKind("request", 1)
		if n := whole.Load(); n > 0 {
			t.Errorf("%s: the origin had %d whole requests", alpn, n)
		}
	}
}

// TestReplaysOfWorkloads: on a route that refuses replays the workload's own
// signature is good once, and what we send again ourselves is no replay.
func TestReplaysOfWorkloads(t *testing.T) {
	for _, alpn := range versions {
		w := newWorld(t)
		s := awsSigned(sigv4.UnsignedPayload, false)
		o := w.strict(t, &s)
		plan, err := inject.NewPlan(nil, s.signer)
		must(t, err)
		seen, err := replay.Open(replay.Options{Window: 15 * time.Minute, Capacity: 2, Now: time.Now().Add(-time.Hour)})
		must(t, err)
		plan.RefuseReplays(seen, "partner")
		w.use(policy.Intercept, w.partnerRoute(func(r *rule) { r.plan.Inject = plan }))
		send := func(path string) (int, string) {
			r := mustRequest(t, "GET", "https://"+host+path, nil)
			s.prepare(t, r, "")
			res := w.do(o, alpn, r)
			return res.StatusCode, res.Header.Get("Outwarden-Reason")
		}
		if status, _ := send("/a"); status != 200 {
			t.Errorf("%s: the first time: %d", alpn, status)
		}
		first := mustRequest(t, "GET", "https://"+host+"/again", nil)
		s.prepare(t, first, "")
		for i, want := range []int{200, 403} {
			again := first.Clone(t.Context())
			if res := w.do(o, alpn, again); res.StatusCode != want || want == 403 && res.Header.Get("Outwarden-Reason") != "replayed" {
				t.Errorf("%s: time %d: %d %v", alpn, i+1, res.StatusCode, res.Header)
			}
		}
		if status, reason := send("/c"); status != 503 || reason != "replay_unknown" {
			t.Errorf("%s: with no room left: %d %s", alpn, status, reason)
		}
	}
}
