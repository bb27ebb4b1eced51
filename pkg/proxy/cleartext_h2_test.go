package proxy_test

import (
	"fmt"
	"net"
	"net/http"
	"testing"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/policy"
)

// TestClearTextStreams: the streams of a connection in clear text go over one connection
// to the address that it went to, as they would without us, whatever hosts they name. One
// for each host, and for each stream that came before the first one stood, would let a
// workload take 256 sockets of ours for one of its own.
func TestClearTextStreams(t *testing.T) {
	const streams = 200
	for name, authority := range map[string]func(i int) string{
		"one host":   func(int) string { return "www.example.com" },
		"many hosts": func(i int) string { return fmt.Sprintf("h%d.example.com", i) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := newOrigin(t, nil, func(c net.Conn) {
				(&http2.Server{}).ServeConn(c, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					rw.Header().Set("host-was", r.Host)
				})})
			})
			w.use(policy.Passthrough, w.partnerRoute())
			p := newPeer(t, w.dial(as{original: o.addr}))
			for i := range streams {
				_ = p.head(uint32(2*i+1), true, ":method", "GET", ":scheme", "http", ":authority", authority(i), ":path", "/")
			}
			for i := range streams {
				p.sees(fmt.Sprintf("HEAD %d 200", 2*i+1))
			}
			if n := o.accepted(); n > 2 {
				t.Errorf("%d connections for %d streams", n, streams)
			}
			for _, r := range w.awaitKind("request", streams) {
				if r.Status != 200 || r.Upstream == nil {
					t.Errorf("record %+v", r)
				}
			}
		})
	}
}
