package proxy_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/policy"
)

// TestAuditFailure: no credential leaves that could not be written down first.
func TestAuditFailure(t *testing.T) {
	for _, alpn := range versions {
		for _, blind := range []bool{false, true} {
			w := newWorld(t)
			w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
			reached := 0
			o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ }))
			s := w.snapshot(policy.Intercept, w.partnerRoute())
			s.BlindOK = blind
			w.proxy.SetSnapshot(s)
			w.records.breakWith(errors.New("disk full"))
			status, reason := w.fetch(o, alpn, "GET", "https://"+host+"/")
			if blind && (status != 200 || reached != 1) {
				t.Errorf("%s, on_failure: allow: status %d, %d requests", alpn, status, reached)
			}
			if !blind && (status != 503 || reason != "audit_unavailable" || reached != 0) {
				t.Errorf("%s: status %d %s, %d requests at the origin", alpn, status, reason, reached)
			}
		}
	}
}

// TestSlowWorkload: who does not finish a head or a body is given up, with a
// reason.
func TestSlowWorkload(t *testing.T) {
	for _, c := range []struct {
		name, request string
		status        int
	}{
		{"head", "GET /v1/x HTTP/1.1\r\nHo", 408},
		{"body", "POST /v1/x HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 10\r\n\r\nhalf", 408},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(o *options) { o.Timeouts.Head, o.Timeouts.BodyStall = 200*time.Millisecond, 200*time.Millisecond })
			o := w.originFor(nil, host)
			w.use(policy.Intercept, w.openRoute())
			conn := w.tls(as{original: o.addr}, host)
			_, _ = io.WriteString(conn, c.request)
			got, _ := io.ReadAll(conn)
			if statusOf(string(got)) != c.status {
				t.Errorf("answer %q", got)
			}
			if r := w.request(); r.Reason != "workload_timeout" || r.Status != c.status {
				t.Errorf("record %+v", r)
			}
		})
	}
}

// TestSlowUpstream: 504, and the connection to it is not used again.
func TestSlowUpstream(t *testing.T) {
	w := newWorld(t, func(o *options) { o.Timeouts.Response = 200 * time.Millisecond })
	o := w.originFor(func(c net.Conn) {
		for r := newReader(c); r.request(); {
		}
	}, host)
	w.use(policy.Intercept, w.partnerRoute())
	for range 2 {
		if got := w.say(o, plainGet); statusOf(got) != http.StatusGatewayTimeout {
			t.Errorf("answer %q", got)
		}
	}
	for _, r := range w.awaitKind("request", 2) {
		if r.Reason != "upstream_timeout" {
			t.Errorf("record %+v", r)
		}
	}
	if n := bytes.Count(o.got(), []byte("GET ")); n != 2 {
		t.Errorf("%d requests at the origin, want 2: a timeout is not retried", n)
	}
}

// TestIdleConnectionsEnd without an error and without a record of their own.
func TestIdleConnectionsEnd(t *testing.T) {
	w := newWorld(t, func(o *options) { o.Timeouts.Idle = 200 * time.Millisecond })
	o := w.originFor(nil, host)
	w.use(policy.Intercept, w.openRoute())
	c := w.tls(as{original: o.addr}, host)
	_, _ = io.WriteString(c, plainGet)
	if got, err := io.ReadAll(c); string(got) != okResponse || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	_ = c.Close()
	w.quiet()
	w.request()
	if n := len(w.records.of("connection")); n > 0 {
		t.Errorf("%d connection records", n)
	}
}

// TestUpstreamMayClose: an upstream that ends its connection after a response
// does not end the workload's.
func TestUpstreamMayClose(t *testing.T) {
	w := newWorld(t)
	o := w.originFor(func(c net.Conn) {
		if newReader(c).request() {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
		}
	}, host)
	w.use(policy.Intercept, w.partnerRoute())
	c := w.tls(as{original: o.addr}, host)
	for range 3 {
		_, _ = io.WriteString(c, plainGet)
		expectRead(t, c, okResponse)
	}
}

// TestUntilClose: a body that ends with its connection.
func TestUntilClose(t *testing.T) {
	w := newWorld(t)
	const response = "HTTP/1.0 200 OK\r\nServer: old\r\n\r\nsome\r\n\r\nbody"
	o := w.originFor(func(c net.Conn) {
		if newReader(c).request() {
			_, _ = io.WriteString(c, response)
		}
	}, host)
	w.use(policy.Intercept, w.partnerRoute())
	if got := w.say(o, plainGet+plainGet); got != response {
		t.Errorf("answer %q", got)
	}
}

// TestClose: idle connections end at once, a request under way comes to its end.
func TestClose(t *testing.T) {
	w := newWorld(t, func(o *options) { o.Timeouts.Drain = 20 * time.Second })
	begun, finish := make(chan struct{}), make(chan struct{})
	w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			begun <- struct{}{}
			<-finish
		}
		_, _ = io.WriteString(rw, "done")
	}))
	w.use(policy.Intercept, w.openRoute())
	var bodies []io.ReadCloser
	for _, alpn := range versions {
		idle := w.tls(as{original: o.addr}, host, alpn)
		res := w.over(idle, mustRequest(t, "GET", "https://"+host+"/", nil))
		_, _ = io.ReadAll(res.Body)
		c := w.tls(as{original: o.addr}, host, alpn)
		pr, pw := io.Pipe()
		go func() {
			res, err := w.roundTripper(c).RoundTrip(mustRequest(t, "GET", "https://"+host+"/slow", nil))
			if err == nil {
				_, err = io.Copy(pw, res.Body)
			}
			_ = pw.CloseWithError(err)
		}()
		<-begun
		bodies = append(bodies, pr)
	}
	_ = w.ln.Close()
	closed := make(chan struct{})
	go func() { _ = w.proxy.Close(); close(closed) }()
	for w.proxy.Open() > len(versions) { // the idle ones
		time.Sleep(time.Millisecond)
	}
	close(finish)
	for i, body := range bodies {
		if got, err := io.ReadAll(body); string(got) != "done" || err != nil {
			t.Errorf("%s: %q, %v", versions[i], got, err)
		}
	}
	<-closed
}

// TestCloseAborts what does not end by itself, wherever it waits.
func TestCloseAborts(t *testing.T) {
	w := newWorld(t, func(o *options) { o.Timeouts.Drain, o.Timeouts.Response = 100*time.Millisecond, time.Hour })
	hung, over := make(chan struct{}), make(chan struct{})
	o := w.originFor(func(c net.Conn) { newReader(c).head(); hung <- struct{}{}; <-over }, host)
	opaque := newOrigin(t, nil, func(net.Conn) { hung <- struct{}{}; <-over })
	t.Cleanup(func() { close(over) })
	w.use(policy.Passthrough, w.partnerRoute())
	c := w.tls(as{original: o.addr}, host)
	_, _ = io.WriteString(c, plainGet)
	<-hung
	half := w.dial(as{original: opaque.addr})
	_, _ = io.WriteString(half, "\x00")
	_ = half.CloseWrite()
	<-hung
	waits := w.tls(as{original: o.addr}, host)
	_, _ = io.WriteString(waits, strings.Replace(plainGet, "GET", "POST", 1)[:len(plainGet)-1]+"Content-Length: 9\r\n\r\n")
	<-hung
	_ = w.ln.Close()
	done := make(chan struct{})
	go func() { _ = w.proxy.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("Close hangs")
	}
	if n := w.proxy.Open(); n > 0 {
		t.Errorf("%d flows open", n)
	}
}

// TestLimitOfConnections: one more waits until another has ended.
func TestLimitOfConnections(t *testing.T) {
	w := newWorld(t, func(o *options) { o.MaxConns = 1 })
	o := w.originFor(nil, host)
	w.use(policy.Intercept, w.openRoute())
	first := w.tls(as{original: o.addr}, host)
	second := make(chan string)
	go func() { second <- w.say(o, plainGet) }()
	_, _ = io.WriteString(first, plainGet)
	expectRead(t, first, okResponse)
	select {
	case got := <-second:
		t.Errorf("served beside the first: %q", got)
	default:
	}
	_ = first.Close()
	if got := <-second; got != okResponse {
		t.Errorf("answer %q", got)
	}
}
