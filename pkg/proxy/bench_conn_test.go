package proxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"testing"

	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/proxy"
)

// BenchmarkConnection is a connection for each request, to an upstream that is kept:
// accept, handshake, one exchange, the end. The client's handshake is a part of it.
func BenchmarkConnection(b *testing.B) {
	for name, sessions := range map[string]tls.ClientSessionCache{"full": nil, "resumed": tls.NewLRUClientSessionCache(1)} {
		b.Run(name, func(b *testing.B) { connections(b, sessions) })
	}
}

func connections(b *testing.B, sessions tls.ClientSessionCache) {
	w := newWorld(b, func(o *options) { o.Records = unwritten{}; o.Timeouts = proxy.Timeouts{} })
	o := w.originFor(func(c net.Conn) { repeat(c, []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) }, host)
	w.use(policy.Deny, w.partnerRoute())
	roots := x509.NewCertPool()
	roots.AddCert(w.ca.Root())
	config := &tls.Config{ServerName: host, RootCAs: roots, ClientSessionCache: sessions, CurvePreferences: []tls.CurveID{tls.X25519}}
	request := "GET /1k HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"
	b.ReportAllocs()
	for b.Loop() {
		raw, err := w.connect(as{original: o.addr})
		must(b, err)
		c := tls.Client(raw, config)
		_, err = io.WriteString(c, request)
		must(b, err)
		_, err = io.Copy(io.Discard, c)
		must(b, err)
		must(b, c.Close())
	}
}
