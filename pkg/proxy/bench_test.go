package proxy_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/proxy"
)

// BenchmarkExchange is one HTTP/1.1 request on a warm connection through every
// stage, a bearer token injected. Client and origin cost a share of it that does
// not change, and allocate nothing.
func BenchmarkExchange(b *testing.B) {
	exchanges(b, func(w *world) rule { return w.partnerRoute() })
}

// BenchmarkExchangeScrubbed is the same where the response is looked into.
func BenchmarkExchangeScrubbed(b *testing.B) { exchanges(b, (*world).scrubbedRoute) }

func exchanges(b *testing.B, route func(*world) rule) {
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
		b.Run(strconv.Itoa(size>>10)+"KiB", func(b *testing.B) {
			w := newWorld(b, func(o *options) { o.Records = unwritten{}; o.Timeouts = proxy.Timeouts{} })
			answer := append([]byte("HTTP/1.1 200 OK\r\nContent-Length: "+strconv.Itoa(size)+"\r\n\r\n"), make([]byte, size)...)
			o := w.originFor(func(c net.Conn) { repeat(c, answer) }, host)
			w.use(policy.Deny, route(w))
			c := w.tls(as{original: o.addr}, host)
			request, got := []byte("GET /1k HTTP/1.1\r\nHost: "+host+"\r\n\r\n"), make([]byte, len(answer))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				_, err := c.Write(request)
				must(b, err)
				_, err = io.ReadFull(c, got)
				must(b, err)
			}
		})
	}
}

// repeat gives the same answer to every request head.
func repeat(c net.Conn, answer []byte) {
	defer c.Close()
	buf, n := make([]byte, 4096), 0
	for {
		m, err := c.Read(buf[n:])
		if err != nil {
			return
		}
		if n += m; !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
			continue
		}
		n = 0
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// unwritten takes records and keeps none.
type unwritten struct{}

func (unwritten) Append(*audit.Record) error { return nil }
func (unwritten) Waits() bool                { return false }

// BenchmarkExchangeHTTP2 is the same on one stream after another, between the
// client and the server of Go's library, which cost most of it.
func BenchmarkExchangeHTTP2(b *testing.B) {
	w := newWorld(b, func(o *options) { o.Records = unwritten{}; o.Timeouts = proxy.Timeouts{} })
	w.originFor(nil, host) // for its name
	o := newHTTPOrigin(b, w.partner.leaf(b, []string{host}), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok")
	}))
	w.use(policy.Deny, w.partnerRoute())
	cc, err := (&http2.Transport{DisableCompression: true}).NewClientConn(w.tls(as{original: o.addr}, host, "h2"))
	must(b, err)
	defer cc.Close()
	b.ReportAllocs()
	for b.Loop() {
		res, err := cc.RoundTrip(mustRequest(b, "GET", "https://"+host+":"+portOf(o)+"/v1", nil))
		must(b, err)
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != "ok" {
			b.Fatalf("%q, %v", body, err)
		}
	}
}
