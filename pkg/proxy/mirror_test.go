package proxy_test

import (
	"io"
	"testing"

	"github.com/outwarden/outwarden/pkg/policy"
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
