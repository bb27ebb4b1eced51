package proxy_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/policy"
)

// TestBadUpstreams: what is no HTTP/2, or no response, is a refusal with a reason
// and reaches no workload.
func TestBadUpstreams(t *testing.T) {
	section := func(fields ...string) func(net.Conn) {
		return func(c net.Conn) {
			fr := accepted(c)
			for {
				f, err := fr.ReadFrame()
				if err != nil {
					return
				}
				if h, ok := f.(*http2.HeadersFrame); ok {
					_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: h.StreamID, BlockFragment: encoded(fields...), EndHeaders: true})
				}
			}
		}
	}
	for name, c := range map[string]struct {
		serve  func(net.Conn)
		reason string
	}{
		"HTTP/1":         {func(c net.Conn) { _, _ = io.WriteString(c, okResponse); _, _ = io.Copy(io.Discard, c) }, "upstream_response"},
		"closed at once": {func(net.Conn) {}, "upstream_closed"},
		"silent":         {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, "upstream_timeout"},
		"GOAWAY with error": {func(c net.Conn) {
			_ = accepted(c).WriteGoAway(1, http2.ErrCodeInternal, nil)
			_, _ = io.Copy(io.Discard, c)
		}, "upstream_closed"},
		"no status":       {section("x", "y"), "upstream_response"},
		"two statuses":    {section(":status", "200", ":status", "200"), "upstream_response"},
		"LF in a value":   {section(":status", "200", "x", "a\nb: c"), "upstream_response"},
		"connection":      {section(":status", "200", "connection", "close"), "upstream_response"},
		"upper case":      {section(":status", "200", "X-Big", "y"), "upstream_response"},
		"1 MiB of fields": {section(":status", "200", "x", strings.Repeat("a", 300<<10)), "upstream_response"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(o *options) { o.Timeouts.Response = 300 * time.Millisecond })
			o := w.originFor(c.serve, host)
			o.config.NextProtos = []string{"h2"}
			w.use(policy.Intercept, w.partnerRoute())
			status, reason := w.fetch(o, "h2", "GET", "https://"+host+"/v1/x")
			if want := map[bool]int{true: 504, false: 502}[c.reason == "upstream_timeout"]; status != want || reason != c.reason {
				t.Errorf("%d %s, want %d %s", status, reason, want, c.reason)
			}
			if r := w.request(); r.Reason != c.reason || r.Status != status {
				t.Errorf("record %+v", r)
			}
		})
	}
}

// TestUpstreamLosesHTTP2: the workload is told that its connection is of no more
// use, and its next one speaks what the upstream does now.
func TestUpstreamLosesHTTP2(t *testing.T) {
	for name, now := range map[string][]string{"chooses nothing": nil, "refuses": {"http/1.1"}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := w.originFor(func(c net.Conn) {
				if c.(*tapped).protocol() != "h2" {
					answerOK(c)
					return
				}
				(&http2.Server{}).ServeConn(c, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
			}, host)
			o.config.NextProtos = []string{"h2", "http/1.1"}
			w.use(policy.Intercept, w.partnerRoute())
			p := newPeer(t, w.tls(as{original: o.addr}, host, "h2", "http/1.1"))
			_ = p.head(1, true, post()...)
			p.sees("HEAD 1 200")

			o.become(now)
			w.pool.Retire()
			_ = p.head(3, true, post()...)
			p.sees("HEAD 3 502")
			p.sees("GOAWAY NO_ERROR")
			if r := w.awaitKind("request", 2)[1]; r.Reason != "upstream_tls" {
				t.Errorf("record %+v", r)
			}
			next := w.tls(as{original: o.addr}, host, "h2", "http/1.1")
			if got := next.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
				t.Fatalf("agreed on %q", got)
			}
			_, _ = io.WriteString(next, plainGet)
			expectRead(t, next, okResponse)
		})
	}
}
