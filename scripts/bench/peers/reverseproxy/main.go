// Command reverseproxy is net/http with httputil.ReverseProxy, as a careful
// person would set it up: as many idle connections as it can use, pooled buffers,
// HTTP/2 upstream where clients speak it.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"sync"
	"time"

	"github.com/outwarden/outwarden/scripts/bench/peers/edge"
)

const bufferSize = 32 << 10

type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, bufferSize)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "reverseproxy:", err)
		os.Exit(1)
	}
}

func serve() error {
	e, err := edge.Open("h2", "http/1.1")
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Transport: mirror{transport(e, false), transport(e, true)}, BufferPool: &buffers{},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "https", r.In.Host
			r.Out.Header.Set("Authorization", e.Bearer)
		},
	}
	s := &http.Server{Handler: proxy, TLSConfig: e.Server}
	return s.ServeTLS(e.Listener, "", "")
}

// mirror speaks HTTP/1 upstream for clients of HTTP/1, and HTTP/2 for those of
// HTTP/2.
type mirror struct{ http1, http2 http.RoundTripper }

func (m mirror) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.ProtoMajor == 2 {
		return m.http2.RoundTrip(r)
	}
	return m.http1.RoundTrip(r)
}

func transport(e *edge.Edge, http2 bool) *http.Transport {
	var d net.Dialer
	return &http.Transport{
		TLSClientConfig: e.Client(""), MaxIdleConnsPerHost: 8192, IdleConnTimeout: 10 * time.Minute, DisableCompression: true,
		ForceAttemptHTTP2: http2,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			name, _, _ := net.SplitHostPort(addr)
			return d.DialContext(ctx, network, e.Origins[name])
		},
	}
}
