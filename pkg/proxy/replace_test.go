package proxy_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/secret"
)

// token is a route of a host whose requests carry a token.
func (w *world) token(name, host, value string) rule {
	return w.partnerRoute(func(r *rule) {
		r.route.Name, r.route.To.Hosts = name, hosts(w.t, host)
		r.plan.Upstream = w.profile(name)
		r.plan.Inject = credentials(w.t, inject.Credential{Name: name, Version: value, Form: inject.Bearer, Value: secret.New([]byte(value))})
	})
}

// TestReload: a connection keeps the configuration it began with and only that, and
// is asked to end: what a workload that never leaves sends is the new credential soon.
func TestReload(t *testing.T) {
	w := newWorld(t)
	o := w.originFor(nil, host)
	w.use(policy.Intercept, w.partnerRoute())
	old, resting := w.tls(as{original: o.addr}, host), w.idle(o)
	_, _ = io.WriteString(old, plainGet)
	expectRead(t, old, okResponse)

	w.use(policy.Intercept, w.token("partner", host, "rotated"))
	w.pool.Retire()
	_, _ = io.WriteString(old, plainGet+plainGet)
	got, err := io.ReadAll(old)
	if err != nil || !strings.Contains(string(got), "Connection: close") || strings.Count(string(got), "200 OK") != 1 {
		t.Errorf("behind the change: %q, %v; want one answer that says it is the last", got, err)
	}
	if n := bytes.Count(o.got(), []byte(canary)); n != 3 {
		t.Errorf("the old connections sent the old credential %d times, want 3", n)
	}
	if got, err := io.ReadAll(resting); len(got) > 0 || err != nil {
		t.Errorf("the resting connection: %q, %v; want its end", got, err)
	}
	if got := w.say(o, plainGet); got != okResponse || bytes.Count(o.got(), []byte("rotated")) != 1 {
		t.Errorf("answer %q, origin %q", got, o.got())
	}
}

// TestReloadHTTP2: a client that goes on and on is led to another connection, and
// loses no request by it.
func TestReloadHTTP2(t *testing.T) {
	w := newWorld(t)
	w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	var seen sync.Map
	o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen.Store(r.Header.Get("Authorization"), true)
	}))
	w.use(policy.Intercept, w.token("partner", host, "first"))
	client := &http2.Transport{DialTLS: func(string, string, *tls.Config) (c net.Conn, err error) {
		return w.tryTLS(as{original: o.addr}, host, "h2")
	}}
	defer client.CloseIdleConnections()
	get := func() {
		t.Helper()
		res, err := client.RoundTrip(mustRequest(t, "GET", "https://"+host+"/", nil))
		must(t, err)
		_ = res.Body.Close()
		if res.StatusCode != 200 {
			t.Fatalf("status %d", res.StatusCode)
		}
	}
	get()
	w.proxy.Renew(w.snapshot(policy.Intercept, w.token("partner", host, "second")))
	for end := time.Now().Add(20 * time.Second); ; get() {
		if _, ok := seen.Load("Bearer second"); ok {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the old credential is still sent")
		}
	}
}

// TestRenew: connections that have nothing to do with a secret that changed stay.
func TestRenew(t *testing.T) {
	const other = "other.example"
	w := newWorld(t)
	o := w.originFor(nil, host, other)
	w.names[other] = w.names[host]
	w.use(policy.Intercept, w.token("partner", host, "first"), w.token("other", other, "same"))
	its, stays := w.idle(o), w.tls(as{original: o.addr}, other)
	for range 2 {
		_, _ = io.WriteString(stays, strings.Replace(plainGet, host, other, 1))
		expectRead(t, stays, okResponse)
		w.proxy.Renew(w.snapshot(policy.Intercept, w.token("partner", host, "second"), w.token("other", other, "same")))
	}
	if got, err := io.ReadAll(its); len(got) > 0 || err != nil {
		t.Errorf("%q, %v; want the end of the connection with the old secret", got, err)
	}
	_, _ = io.WriteString(stays, strings.Replace(plainGet, host, other, 1))
	expectRead(t, stays, okResponse)
}
