package proxy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/hmacsig"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/secret"
)

// TestClearTextHTTP2: h2 by prior knowledge goes on as such, to where it was
// meant to go, and carries no credential.
func TestClearTextHTTP2(t *testing.T) {
	w := newWorld(t)
	o := newOrigin(t, nil, func(c net.Conn) {
		(&http2.Server{}).ServeConn(c, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(rw, r.Proto+" "+r.RequestURI)
		})})
	})
	w.use(policy.Intercept, w.partnerRoute())
	cc, err := (&http2.Transport{AllowHTTP: true}).NewClientConn(w.dial(as{original: o.addr}))
	must(t, err)
	for _, c := range []struct {
		host, body string
		status     int
	}{
		{"www.example.com", "HTTP/2.0 /a?b=%2f", 200}, {"www.example.com", "HTTP/2.0 /a?b=%2f", 200}, {host, "", 403},
	} {
		res, err := cc.RoundTrip(mustRequest(t, "GET", "http://"+c.host+"/a?b=%2f", nil))
		must(t, err)
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode != c.status || c.body != "" && string(body) != c.body {
			t.Errorf("%s: %d %q", c.host, res.StatusCode, body)
		}
	}
	if n := o.accepted(); n != 1 {
		t.Errorf("%d upstream connections, want one that is shared", n)
	}
	if r := w.awaitKind("request", 3)[2]; r.Reason != "cleartext" || bytes.Contains(o.got(), []byte(canary)) {
		t.Errorf("record %+v", r)
	}
}

// TestMirroredProtocol: the workload speaks what the upstream does.
func TestMirroredProtocol(t *testing.T) {
	for _, c := range []struct{ upstream, offered, want string }{
		{"h2 http/1.1", "h2 http/1.1", "h2"},
		{"http/1.1", "h2 http/1.1", "http/1.1"},
		{"h2 http/1.1", "http/1.1", "http/1.1"},
		{"", "h2 http/1.1", "http/1.1"},
		{"", "h2", ""},
		{"h2 http/1.1", "", ""},
		{"h2 http/1.1", "spdy/3", ""},
	} {
		t.Run(c.upstream+"|"+c.offered, func(t *testing.T) {
			w := newWorld(t)
			w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
			config := serving(w.partner.leaf(t, []string{host}))
			config.NextProtos = strings.Fields(c.upstream)
			o := newOrigin(t, config, nil)
			w.use(policy.Intercept, w.partnerRoute())
			for range 2 { // unknown, then remembered
				conn := w.tls(as{original: o.addr}, host, strings.Fields(c.offered)...)
				if got := conn.ConnectionState().NegotiatedProtocol; got != c.want {
					t.Errorf("agreed on %q, want %q", got, c.want)
				}
				_ = conn.Close()
			}
			w.awaitKind("connection", 2)
		})
	}
}

// TestStreamsAreSeparate: many streams on one connection, each decided and
// recorded on its own, one upstream connection for each credential.
func TestStreamsAreSeparate(t *testing.T) {
	w := newWorld(t)
	w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, r.URL.Path+" "+r.Header.Get("Authorization"))
	}))
	w.use(policy.Intercept,
		rule{route: policy.Route{Name: "no", Action: policy.Deny, To: policy.To{Hosts: hosts(t, host), Paths: paths(t, "/no/**")}}},
		w.partnerRoute(func(r *rule) { r.route.To.Paths = paths(t, "/v1/**") }))
	rt := w.roundTripper(w.tls(as{original: o.addr}, host, "h2"))
	var wg sync.WaitGroup
	const each = 30
	for i := range 3 * each {
		wg.Go(func() {
			path := fmt.Sprintf("/%s/%d", []string{"v1", "free", "no"}[i%3], i)
			res, err := rt.RoundTrip(mustRequest(t, "GET", "https://"+host+path, nil))
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			want := []string{path + " Bearer " + canary, path + " ", "outwarden: route_denies\n"}[i%3]
			if string(body) != want {
				t.Errorf("%s: %d %q", path, res.StatusCode, body)
			}
		})
	}
	wg.Wait()
	for _, r := range w.awaitKind("request", 3*each) {
		if (r.Route == "partner") != strings.HasPrefix(r.Path, "/v1/") || (r.Reason == "route_denies") != strings.HasPrefix(r.Path, "/no/") {
			t.Errorf("record %+v", r)
		}
	}
	w.awaitKind("credential", each)
}

// TestAbandonedStreams: a workload that resets its stream ends the upstream's,
// and the record says so. Interim responses that come later harm nobody.
func TestAbandonedStreams(t *testing.T) {
	w := newWorld(t)
	w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	var live atomic.Int32
	begun := make(chan struct{})
	o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		live.Add(1)
		defer live.Add(-1)
		begun <- struct{}{}
		for r.Context().Err() == nil {
			rw.Header().Set("Link", "<x>")
			rw.WriteHeader(http.StatusEarlyHints)
		}
	}))
	w.use(policy.Intercept, w.openRoute())
	rt := w.roundTripper(w.tls(as{original: o.addr}, host, "h2"))
	const streams = 20
	for range streams {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-begun; time.Sleep(10 * time.Millisecond); cancel() }() // and some interim responses
		if _, err := rt.RoundTrip(mustRequest(t, "GET", "https://"+host+"/", nil).WithContext(ctx)); err == nil {
			t.Error("an answer")
		}
	}
	records := w.awaitKind("request", streams)
	for end := time.Now().Add(10 * time.Second); live.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d streams go on upstream", live.Load())
		}
	}
	for _, r := range records {
		if r.Reason != "workload_closed" || r.Status != 0 {
			t.Errorf("record %+v", r)
		}
	}
}

// TestHalfResponse: a stream that breaks upstream is broken for the workload.
func TestHalfResponse(t *testing.T) {
	w := newWorld(t)
	w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "half")
		rw.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	w.use(policy.Intercept, w.openRoute())
	res := w.do(o, "h2", mustRequest(t, "GET", "https://"+host+"/", nil))
	if body, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("%q looks whole", body)
	}
	if r := w.request(); r.Reason != "upstream_closed" || r.Status != 200 {
		t.Errorf("record %+v", r)
	}
}

// TestSignedBodies: what is signed is what arrives, however the body came, and
// what is pipelined behind it is another request.
func TestSignedBodies(t *testing.T) {
	scheme, err := hmacsig.Preset("knoxcall")
	must(t, err)
	key := []byte("signing key of the test")
	plan, err := inject.NewPlan(nil, &inject.HMAC{Name: "hmac", Version: "1", Scheme: scheme, Key: secret.New(key), Nonce: true})
	must(t, err)
	w := newWorld(t)
	w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	var mu sync.Mutex
	nonces := map[string]bool{}
	o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var at int64
		_, _ = fmt.Sscan(r.Header.Get("X-Timestamp"), &at)
		in := hmacsig.Input{
			Method: r.Method, Target: r.RequestURI, ContentType: r.Header.Get("Content-Type"),
			BodySHA256: sha256.Sum256(body), Time: time.Unix(at, 0), Nonce: r.Header.Get("X-Nonce"),
		}
		mu.Lock()
		defer mu.Unlock()
		if err := scheme.Verify(key, in, r.Header.Get("X-Signature")); err != nil || nonces[in.Nonce] || r.ContentLength > 0 && len(body) != int(r.ContentLength) {
			t.Errorf("%s: %v, nonce seen: %v", r.RequestURI, err, nonces[in.Nonce])
		}
		nonces[in.Nonce] = true
		fmt.Fprintf(rw, "%s %d\n", r.URL.Path, len(body))
	}))
	w.use(policy.Intercept, w.partnerRoute(func(r *rule) { r.plan.Inject, r.plan.SignedBody = plan, 100_000 }))

	c := w.tls(as{original: o.addr}, host)
	head := "POST /%d HTTP/1.1\r\nHost: " + host + "\r\nX-Signature: forged\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
	var all strings.Builder
	for i, n := range []int{0, 10, 9000, 60_000, 10} {
		fmt.Fprintf(&all, head, i, n)
		all.WriteString(strings.Repeat("x", n))
	}
	all.WriteString("POST /chunked HTTP/1.1\r\nHost: " + host + "\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n5;e=1\r\nhello\r\n0\r\nX-T: y\r\n\r\n")
	fmt.Fprintf(&all, head, 9, 200_000)
	got := talk(t, c, all.String())
	for _, want := range []string{"/0 0\n", "/1 10\n", "/2 9000\n", "/3 60000\n", "/4 10\n", "/chunked 5\n", "body_too_large"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	for _, n := range []int{0, 10, 90_000} {
		res := w.do(o, "h2", mustRequest(t, "POST", "https://"+host+"/h2", strings.NewReader(strings.Repeat("x", n))))
		if body, _ := io.ReadAll(res.Body); string(body) != fmt.Sprintf("/h2 %d\n", n) {
			t.Errorf("%d %q", res.StatusCode, body)
		}
	}
	if status, reason := w.fetchBody(o, "h2", strings.Repeat("x", 200_000)); status != 413 || reason != "body_too_large" {
		t.Errorf("%d %s", status, reason)
	}
}

func (w *world) fetchBody(o *origin, alpn, body string) (status int, reason string) {
	w.t.Helper()
	res := w.do(o, alpn, mustRequest(w.t, "POST", "https://"+host+"/", strings.NewReader(body)))
	return res.StatusCode, res.Header.Get("Outwarden-Reason")
}
