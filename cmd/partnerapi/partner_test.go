package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestGoodCall(t *testing.T) {
	p := start(t, "--allow", "127.0.0.0/8")
	for _, tt := range []struct {
		name  string
		http1 bool
		proto string
	}{{"http1", true, "HTTP/1.1"}, {"http2", false, "HTTP/2.0"}} {
		t.Run(tt.name, func(t *testing.T) {
			c := good("n-" + tt.name)
			status, a := do(t, p.client(t, tt.http1, p.pair), c.request(t, p))
			if status != 200 || !a.OK || a.Reason != "" {
				t.Fatalf("answer %d %+v", status, a)
			}
			body, token := sha256.Sum256([]byte(c.body)), sha256.Sum256([]byte(p.token))
			want := account{
				OK: true, Method: "POST", Path: c.path, Host: p.addr, Proto: tt.proto, SourceIP: "127.0.0.1",
				ClientCert: "CN=billing-client,O=Partner", Signature: "verified", Nonce: c.nonce,
				BodyBytes: int64(len(c.body)), BodySHA256: hex.EncodeToString(body[:]),
			}
			auth := a.Authorization
			if auth == nil || auth.Scheme != "Bearer" || auth.SHA256 != hex.EncodeToString(token[:]) {
				t.Errorf("authorization = %+v", auth)
			}
			for _, name := range []string{"Authorization", "X-Nonce", "X-Signature", "X-Timestamp"} {
				if !slices.Contains(a.Headers, name) {
					t.Errorf("headers %v lack %s", a.Headers, name)
				}
			}
			a.Headers, a.Authorization = nil, nil
			if !equal(a, want) {
				t.Errorf("account\n got %+v\nwant %+v", a, want)
			}
		})
	}
}

func equal(a, b account) bool {
	return a.OK == b.OK && a.Method == b.Method && a.Path == b.Path && a.Host == b.Host && a.Proto == b.Proto &&
		a.SourceIP == b.SourceIP && a.ClientCert == b.ClientCert && a.Signature == b.Signature && a.Nonce == b.Nonce &&
		a.BodyBytes == b.BodyBytes && a.BodySHA256 == b.BodySHA256
}

// TestRefused takes one thing off a good call, or changes it, and names the reason
// that must come back.
func TestRefused(t *testing.T) {
	p := start(t)
	for _, tt := range []struct {
		name   string
		call   func(*call)
		edit   func(*http.Request)
		reason string
	}{
		{name: "late", call: func(c *call) { c.at = c.at.Add(-6 * time.Minute) }, reason: "old, allowed are 5m0s"},
		{name: "early", call: func(c *call) { c.at = c.at.Add(6 * time.Minute) }, reason: "ahead, allowed are 5m0s"},
		{name: "no nonce", call: func(c *call) { c.nonce = "" }, reason: "0 x-nonce fields"},
		{name: "changed method", edit: func(r *http.Request) { r.Method = "PUT" }, reason: "signature does not match"},
		{name: "changed path", edit: func(r *http.Request) { r.URL.Path = "/api/v1/Transfers" }, reason: "signature does not match"},
		{name: "changed query", edit: func(r *http.Request) { r.URL.RawQuery = "b=%2F&id=7" }, reason: "signature does not match"},
		{name: "query encoded otherwise", edit: func(r *http.Request) { r.URL.RawQuery = "id=7&b=%2f" }, reason: "signature does not match"},
		{name: "changed content type", edit: set("Content-Type", "text/plain"), reason: "signature does not match"},
		{name: "no content type", edit: del("Content-Type"), reason: "signature does not match"},
		{name: "changed timestamp", edit: func(r *http.Request) { r.Header.Set("X-Timestamp", stampOf(time.Now().Add(2*time.Second))) }, reason: "signature does not match"},
		{name: "changed nonce", edit: set("X-Nonce", "other"), reason: "signature does not match"},
		{name: "changed body byte", edit: func(r *http.Request) { body(r, `{"amount":2}`) }, reason: "signature does not match"},
		{name: "upper case signature", edit: func(r *http.Request) {
			r.Header.Set("X-Signature", "sha256="+strings.ToUpper(r.Header.Get("X-Signature")[7:]))
		}, reason: "signature does not match"},
		{name: "no prefix", edit: func(r *http.Request) { r.Header.Set("X-Signature", r.Header.Get("X-Signature")[7:]) }, reason: "signature does not match"},
		{name: "no signature", edit: del("X-Signature"), reason: "0 x-signature fields"},
		{name: "two signatures", edit: func(r *http.Request) { r.Header.Add("X-Signature", r.Header.Get("X-Signature")) }, reason: "2 x-signature fields"},
		{name: "no timestamp", edit: del("X-Timestamp"), reason: "0 x-timestamp fields"},
		{name: "timestamp with a sign", edit: func(r *http.Request) { r.Header.Set("X-Timestamp", "+"+r.Header.Get("X-Timestamp")) }, reason: "not in unix seconds"},
		{name: "no token", edit: del("Authorization"), reason: "0 authorization fields"},
		{name: "two tokens", edit: func(r *http.Request) { r.Header.Add("Authorization", "Bearer x") }, reason: "2 authorization fields"},
		{name: "wrong token", edit: set("Authorization", "Bearer x"), reason: "bearer token is wrong"},
		{name: "wrong scheme", edit: set("Authorization", "Basic x"), reason: "bearer token is wrong"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good("refused " + tt.name)
			if tt.call != nil {
				tt.call(&c)
			}
			r := c.request(t, p)
			if tt.edit != nil {
				tt.edit(r)
			}
			status, a := do(t, p.client(t, false, p.pair), r)
			if status != 401 || a.OK || !strings.Contains(a.Reason, tt.reason) || a.Signature != "" {
				t.Errorf("answer %d %+v, want 401 and %q", status, a, tt.reason)
			}
		})
	}
}

func stampOf(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

func set(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func del(name string) func(*http.Request) { return func(r *http.Request) { r.Header.Del(name) } }

func body(r *http.Request, s string) {
	r.Body, r.GetBody, r.ContentLength = nopCloser{strings.NewReader(s)}, nil, int64(len(s))
}

type nopCloser struct{ *strings.Reader }

func (nopCloser) Close() error { return nil }

func TestReplayIsRefused(t *testing.T) {
	p := start(t)
	client := p.client(t, false, p.pair)
	c := good("once")
	if status, a := do(t, client, c.request(t, p)); status != 200 {
		t.Fatalf("first call: %d %+v", status, a)
	}
	status, a := do(t, client, c.request(t, p))
	if status != 401 || !strings.Contains(a.Reason, "replay") {
		t.Errorf("second call: %d %+v", status, a)
	}
	c.body += " " // signed anew: the nonce alone must stop it
	if status, a := do(t, client, c.request(t, p)); status != 401 || !strings.Contains(a.Reason, "replay") {
		t.Errorf("same nonce, other body: %d %+v", status, a)
	}
}

func TestReplayWithoutNonceIsRefused(t *testing.T) {
	p := start(t, "--nonce", "optional")
	client := p.client(t, false, p.pair)
	c := good("")
	if status, a := do(t, client, c.request(t, p)); status != 200 {
		t.Fatalf("first call: %d %+v", status, a)
	}
	if status, a := do(t, client, c.request(t, p)); status != 401 || !strings.Contains(a.Reason, "replay") {
		t.Errorf("second call: %d %+v", status, a)
	}
}

func TestClientCertificateIsDemanded(t *testing.T) {
	p := start(t)
	for _, http1 := range []bool{true, false} {
		status, a := do(t, p.client(t, http1), good("cert").request(t, p))
		if status != 401 || a.Reason != "client certificate is missing" || a.ClientCert != "" {
			t.Errorf("http1=%v: %d %+v", http1, status, a)
		}
	}
}

// TestForeignClientCertificate: one of another CA of the same name never gets as
// far as a request.
func TestForeignClientCertificate(t *testing.T) {
	p := start(t)
	other := &running{dir: filepath.Join(t.TempDir(), "other"), roots: p.roots}
	if err := initialise(other.dir, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(other.dir, clientCert), filepath.Join(other.dir, clientKey))
	if err != nil {
		t.Fatal(err)
	}
	client := p.client(t, true)
	client.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate =
		func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	resp, err := client.Do(good("foreign").request(t, p))
	if err == nil {
		resp.Body.Close()
		t.Fatalf("answered %d", resp.StatusCode)
	}
	if !strings.Contains(err.Error(), "tls:") && !strings.Contains(err.Error(), "reset") {
		t.Errorf("error is %v, want a TLS alert", err)
	}
}

func TestSourceIsRefused(t *testing.T) {
	p := start(t, "--allow", "198.51.100.20", "--allow", "2001:db8::/32")
	status, a := do(t, p.client(t, false, p.pair), good("source").request(t, p))
	if status != 403 || a.Reason != "source address 127.0.0.1 is not on the allow list" {
		t.Errorf("%d %+v", status, a)
	}
}

func TestAllowed(t *testing.T) {
	d := &demands{allow: prefixes(t, "198.51.100.20", "2001:db8:1::/48")}
	for remote, want := range map[string]bool{
		"198.51.100.20:1":          true,
		"198.51.100.21:1":          false,
		"[::ffff:198.51.100.20]:1": true,
		"[2001:db8:1::9]:1":        true,
		"[2001:db8:2::9]:1":        false,
		"garbage":                  false,
	} {
		if got := d.allowed(source(&http.Request{RemoteAddr: remote})); got != want {
			t.Errorf("%s allowed = %v", remote, got)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{}, {"extra"}, {"--nonce", "maybe", "--dir", "x"}, {"--window", "0s", "--dir", "x"}, {"--allow", "x"}, {"--unknown"},
	} {
		var stderr bytes.Buffer
		if code := run(t.Context(), args, &stderr, &stderr); code != 2 || !strings.Contains(stderr.String(), "hint:") {
			t.Errorf("%q: exit %d, %s", args, code, stderr.String())
		}
	}
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"--dir", t.TempDir()}, &stderr, &stderr); code != 1 {
		t.Errorf("empty directory: exit %d, %s", code, stderr.String())
	}
}

func TestInitialise(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	if code := run(t.Context(), []string{"--init", dir, "--name", "partner.test"}, os.Stderr, os.Stderr); code != 0 {
		t.Fatalf("exit %d", code)
	}
	for _, name := range []string{caKey, serverKey, clientKey, hmacKey, bearerToken} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v, want mode 0600", name, st, err)
		}
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, serverCert), filepath.Join(dir, serverKey))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{partnerName, "partner.test", "127.0.0.1"} {
		if err := pair.Leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"--init", dir}, &stderr, &stderr); code != 1 {
		t.Errorf("second --init in one directory: exit %d, want 1", code)
	}
}
