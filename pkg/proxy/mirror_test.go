package proxy_test

import (
	"crypto/tls"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// What an earlier workload spoke says nothing about what the upstream chooses
// of a later one's offer: a pooled HTTP/1 connection must not be mirrored.
func TestPooledConnectionIsNotMirrored(t *testing.T) {
	w := newWorld(t)
	o := w.originFor(nil, host)
	o.config.NextProtos = []string{"h2", "http/1.1"}
	w.use(policy.Passthrough, w.partnerRoute())
	plain := w.tls(as{original: o.addr}, host, "http/1.1")
	_, err := io.WriteString(plain, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	must(t, err)
	w.awaitKind("request", 1)
	if got := w.tls(as{original: o.addr}, host, "h2", "http/1.1").ConnectionState().NegotiatedProtocol; got != "h2" {
		t.Errorf("the upstream prefers h2, the workload was given %q", got)
	}
}

// A workload that leaves its upstream no choice need not wait for it: this one's
// handshake ends before the upstream's goes on. The request then meets both.
func TestHandshakesBesideEachOther(t *testing.T) {
	for name, offered := range map[string][]string{"no ALPN": nil, "HTTP/1.1 alone": {"http/1.1"}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := w.originFor(nil, host)
			shaken := make(chan struct{})
			o.config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
				<-shaken
				return nil, nil
			}
			w.use(policy.Passthrough, w.partnerRoute())
			c := w.tls(as{original: o.addr}, host, offered...)
			close(shaken)
			if got := talk(t, c, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
				t.Errorf("the workload was answered %q", got)
			}
			if got := w.pool.Stats(); got.Dials != 1 || got.Reuses != 1 {
				t.Errorf("%d connections were made and %d used again, want one and one", got.Dials, got.Reuses)
			}
		})
	}
}

// Nor does it wait for long for the upstream to be connected to.
func TestHandshakeBesideAFarUpstream(t *testing.T) {
	w := newWorld(t)
	o := w.originFor(nil, host)
	shaken := make(chan struct{})
	w.pool = upstream.NewPool(upstream.Options{Resolver: w.names, OwnRoot: w.ca.Issued, Control: func(string, string, syscall.RawConn) error {
		<-shaken
		return nil
	}})
	t.Cleanup(w.pool.Close)
	w.use(policy.Passthrough, w.partnerRoute())
	c := w.tls(as{original: o.addr}, host)
	close(shaken)
	if got := talk(t, c, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("the workload was answered %q", got)
	}
	if got := w.pool.Stats(); got.Dials != 1 {
		t.Errorf("%d connections were made, want one", got.Dials)
	}
}
