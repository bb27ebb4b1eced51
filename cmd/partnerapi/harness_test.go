package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// running is a partner on loopback with every demand but those its options take
// away, and what a good client of it holds.
type running struct {
	addr  string
	dir   string
	key   []byte
	token string
	roots *x509.CertPool
	pair  tls.Certificate
}

// start serves until the test ends, through run like the binary.
func start(t *testing.T, flags ...string) *running {
	t.Helper()
	p := &running{dir: filepath.Join(t.TempDir(), "partner"), roots: x509.NewCertPool()}
	if err := initialise(p.dir, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	out, in := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	args := append([]string{"--dir", p.dir, "--listen", "127.0.0.1:0"}, flags...)
	var stderr bytes.Buffer
	go func() { done <- run(ctx, args, in, &stderr); in.Close() }()
	t.Cleanup(func() {
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("partnerapi exits with %d: %s", code, stderr.String())
		}
	})
	if _, err := fmt.Fscanf(out, "listening on %s\n", &p.addr); err != nil {
		t.Fatalf("no listening line: %v: %s", err, stderr.String())
	}
	p.load(t)
	return p
}

func (p *running) load(t *testing.T) {
	t.Helper()
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(p.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return bytes.TrimSuffix(b, []byte("\n"))
	}
	p.key, p.token = read(hmacKey), string(read(bearerToken))
	p.roots.AppendCertsFromPEM(read(caCert))
	pair, err := tls.X509KeyPair(read(clientCert), read(clientKey))
	if err != nil {
		t.Fatal(err)
	}
	p.pair = pair
}

// client speaks HTTP/2, or HTTP/1.1 alone.
func (p *running) client(t *testing.T, http1 bool, pairs ...tls.Certificate) *http.Client {
	t.Helper()
	tr := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: p.roots, Certificates: pairs, ServerName: partnerName},
		ForceAttemptHTTP2: !http1,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// call is a request of the tests, with what it is signed with.
type call struct {
	method, path, body, contentType string
	at                              time.Time
	nonce                           string
}

func good(nonce string) call {
	return call{method: "POST", path: "/api/v1/transfers?id=7&b=%2F", body: `{"amount":1}`, contentType: "application/json", at: time.Now(), nonce: nonce}
}

// request signs as the documentation of the scheme says, on its own once more.
func (c call) request(t *testing.T, p *running) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), c.method, "https://"+p.addr+c.path, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	body := sha256.Sum256([]byte(c.body))
	stamp := strconv.FormatInt(c.at.Unix(), 10)
	text := c.method + "\n" + c.path + "\ncontent-type:" + c.contentType + "\nx-timestamp:" + stamp + "\n"
	if c.nonce != "" {
		text += "x-nonce:" + c.nonce + "\n"
		r.Header.Set("X-Nonce", c.nonce)
	}
	mac := hmac.New(sha256.New, p.key)
	mac.Write([]byte(text + hex.EncodeToString(body[:])))
	if c.contentType != "" {
		r.Header.Set("Content-Type", c.contentType)
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	r.Header.Set("X-Timestamp", stamp)
	r.Header.Set("X-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	return r
}

// do sends and decodes the account.
func do(t *testing.T, c *http.Client, r *http.Request) (int, account) {
	t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var a account
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		t.Fatalf("answer %d is no account: %v", resp.StatusCode, err)
	}
	return resp.StatusCode, a
}

// fixed returns demands whose clock stands still, for tests without a network.
func fixed(now time.Time) *demands {
	return &demands{key: []byte("k"), nonce: true, window: 5 * time.Minute, seen: newSeen(5*time.Minute, 10), now: func() time.Time { return now }}
}

func prefixes(t *testing.T, list ...string) []netip.Prefix {
	t.Helper()
	o := &options{}
	for _, s := range list {
		if err := o.addAllow(s); err != nil {
			t.Fatal(err)
		}
	}
	return o.allow
}
