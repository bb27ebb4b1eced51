package proxy_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"hash"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/policy"
)

var versions = []string{"http/1.1", "h2"}

// TestFidelity is C11: for every kind of message the workload sees through us
// what it would have seen without, over both versions.
func TestFidelity(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/plain", func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		_, _ = io.WriteString(w, "plain")
	})
	mux.HandleFunc("/204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	mux.HandleFunc("/304", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Etag", `"x"`)
		w.WriteHeader(304)
	})
	mux.HandleFunc("/404", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 404) })
	mux.HandleFunc("/gzip", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, strings.Repeat("squeeze", 1000))
		_ = z.Close()
	})
	mux.HandleFunc("/trailers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Announced")
		_, _ = io.WriteString(w, "body")
		w.(http.Flusher).Flush()
		w.Header().Set("X-Announced", "yes")
		w.Header().Set(http.TrailerPrefix+"X-Sudden", "too")
	})
	mux.HandleFunc("/empty", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/untyped", func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		w.Header()["Date"] = nil
		_, _ = io.WriteString(w, "<html>")
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5000000")
		_, _ = w.Write(bytes.Repeat([]byte("0123456789"), 500000))
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		sum, n := sha256.New(), int64(0)
		n, _ = io.Copy(sum, r.Body)
		fmt.Fprintf(w, "%s %d %x %v %v", r.Method, n, sum.Sum(nil), r.Header["X-A"], r.Trailer)
	})
	t.Run("open", func(t *testing.T) { fidelity(t, mux, (*world).openRoute) })
	t.Run("scrubbed", func(t *testing.T) { fidelity(t, mux, (*world).scrubbedRoute) })
}

func fidelity(t *testing.T, mux http.Handler, route func(*world) rule) {
	w := newWorld(t)
	w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), mux)
	w.use(policy.Intercept, route(w))
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	for _, alpn := range versions {
		through, direct := w.tls(as{original: o.addr}, host, alpn), dialOrigin(t, w, o, alpn)
		pair := [2]http.RoundTripper{w.roundTripper(through), w.roundTripper(direct)}
		for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
			for _, path := range []string{"/plain", "/204", "/304", "/404", "/gzip", "/trailers", "/empty", "/untyped", "/large", "/echo?q=%2f&&x"} {
				make := func() *http.Request {
					r := mustRequest(t, method, "https://"+host+path, nil)
					if method == "POST" {
						r = mustRequest(t, method, "https://"+host+path, struct{ io.Reader }{bytes.NewReader(big)})
						r.Trailer = http.Header{"X-Sent": {"trailing"}}
					}
					r.Header["X-A"] = []string{"1", "2"}
					r.Header["User-Agent"] = nil
					return r
				}
				if method == "POST" && path != "/echo?q=%2f&&x" {
					continue // an origin that does not read the body may cut it off, directly too
				}
				got, want := summary(t, pair[0], make()), summary(t, pair[1], make())
				if got != want {
					t.Errorf("%s %s %s:\nthrough us %s\ndirect     %s", alpn, method, path, got, want)
				}
			}
		}
	}
}

// dialOrigin connects past the interceptor.
func dialOrigin(t testing.TB, w *world, o *origin, alpn string) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", o.addr.String(), &tls.Config{ServerName: host, RootCAs: w.partner.pool(), NextProtos: []string{alpn}})
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// summary is all that a client can tell of a response, but for the date.
func summary(t testing.TB, rt http.RoundTripper, r *http.Request) string {
	t.Helper()
	res, err := rt.RoundTrip(r)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, res.Body)
	if res.Header.Get("Date") != "" {
		res.Header.Set("Date", "some")
	}
	return fmt.Sprintf("%d %s length %d %v %s trailer %s body %d %x %v", res.StatusCode, res.Proto, res.ContentLength,
		res.TransferEncoding, fields(res.Header), fields(res.Trailer), n, sum.Sum(nil)[:4], err)
}

func fields(h http.Header) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		out = append(out, fmt.Sprintf("%s=%q", name, h[name]))
	}
	return fmt.Sprint(out)
}

// TestInterimResponses: 103 comes through before the final response is there.
func TestInterimResponses(t *testing.T) {
	for _, alpn := range versions {
		t.Run(alpn, func(t *testing.T) {
			w := newWorld(t)
			w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
			hinted := make(chan struct{})
			o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Link", "</style.css>; rel=preload")
				rw.WriteHeader(http.StatusEarlyHints)
				select {
				case <-hinted:
				case <-time.After(10 * time.Second):
				}
				_, _ = io.WriteString(rw, "done")
			}))
			w.use(policy.Intercept, w.openRoute())
			c := w.tls(as{original: o.addr}, host, alpn)
			if alpn == "http/1.1" {
				_, _ = io.WriteString(c, plainGet)
				expectRead(t, c, "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n")
				close(hinted)
				return
			}
			r := mustRequest(t, "GET", "https://"+host+"/", nil)
			link := ""
			trace := &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
				link = h.Get("Link")
				close(hinted)
				return nil
			}}
			res := w.over(c, r.WithContext(httptrace.WithClientTrace(context.Background(), trace)))
			body, _ := io.ReadAll(res.Body)
			if link == "" || string(body) != "done" {
				t.Errorf("Link %q, body %q", link, body)
			}
		})
	}
}

// TestEvents: each event arrives although the next one never comes, the head
// before the first of them.
func TestEvents(t *testing.T) {
	for _, alpn := range versions {
		t.Run(alpn, func(t *testing.T) {
			w := newWorld(t)
			w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
			next := make(chan string)
			o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Type", "text/event-stream")
				rw.(http.Flusher).Flush()
				for event := range next {
					_, _ = io.WriteString(rw, event)
					rw.(http.Flusher).Flush()
				}
			}))
			w.use(policy.Intercept, w.partnerRoute())
			res := w.do(o, alpn, mustRequest(t, "GET", "https://"+host+"/events", nil))
			for i := range 5 {
				event := fmt.Sprintf("data: %d\n\n", i)
				next <- event
				expectRead(t, res.Body, event)
			}
			close(next)
			if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
				t.Errorf("after the last event: %q, %v", rest, err)
			}
		})
	}
}

// TestLargeStreams: 64 MiB up and down, the same bytes.
func TestLargeStreams(t *testing.T) {
	const size = 64 << 20
	for _, alpn := range versions {
		t.Run(alpn, func(t *testing.T) {
			w := newWorld(t)
			w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
			arrived, sent := sha256.New(), sha256.New()
			o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(arrived, r.Body)
				_, _ = io.Copy(io.MultiWriter(rw, sent), &pattern{n: size})
			}))
			w.use(policy.Intercept, w.partnerRoute())
			up, down := sha256.New(), sha256.New()
			r := mustRequest(t, "POST", "https://"+host+"/", io.TeeReader(&pattern{n: size}, up))
			res := w.do(o, alpn, r)
			if n, err := io.Copy(down, res.Body); n != size || err != nil {
				t.Fatalf("%d bytes, %v", n, err)
			}
			same(t, "up", up, arrived)
			same(t, "down", sent, down)
			if r := w.request(); r.BytesOut < size || r.BytesIn < size {
				t.Errorf("record %+v", r)
			}
		})
	}
}

func same(t *testing.T, what string, a, b hash.Hash) {
	t.Helper()
	if !bytes.Equal(a.Sum(nil), b.Sum(nil)) {
		t.Errorf("%s: other bytes arrived than were sent", what)
	}
}

// pattern is n bytes that repeat at no power of two.
type pattern struct{ n, at int }

func (p *pattern) Read(b []byte) (int, error) {
	if p.at == p.n {
		return 0, io.EOF
	}
	n := min(len(b), p.n-p.at)
	for i := range n {
		b[i] = byte((p.at + i) % 251)
	}
	p.at += n
	return n, nil
}

// TestSlowUpload: a body may take longer than the time for a response.
func TestSlowUpload(t *testing.T) {
	w := newWorld(t, func(o *options) { o.Timeouts.Response = 200 * time.Millisecond })
	o := w.originFor(nil, host)
	w.use(policy.Intercept, w.openRoute())
	c := w.tls(as{original: o.addr}, host)
	_, _ = io.WriteString(c, "POST /v1/x HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 8\r\n\r\n")
	for range 8 {
		time.Sleep(60 * time.Millisecond)
		_, _ = io.WriteString(c, "x")
	}
	expectRead(t, c, okResponse)
}

const upgrade = "GET /chat HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

const switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

// echoAfterSwitch agrees to any upgrade and echoes.
func echoAfterSwitch(c net.Conn) {
	r := newReader(c)
	if !r.head() {
		return
	}
	_, _ = io.WriteString(c, switched)
	_, _ = c.Write(r.buf)
	_, _ = io.Copy(c, c)
	_ = c.(interface{ CloseWrite() error }).CloseWrite()
}

// TestWebSocket: after 101 bytes pass both ways until each side ends.
func TestWebSocket(t *testing.T) {
	w := newWorld(t)
	o := w.originFor(echoAfterSwitch, host)
	w.use(policy.Intercept, w.partnerRoute())
	c := w.tls(as{original: o.addr}, host)
	_, _ = io.WriteString(c, upgrade)
	expectRead(t, c, switched)
	for _, message := range []string{"one", "two", strings.Repeat("long", 100000)} {
		go io.WriteString(c, message)
		expectRead(t, c, message)
	}
	_, _ = io.WriteString(c, "last")
	_ = c.CloseWrite()
	if rest, err := io.ReadAll(c); string(rest) != "last" || err != nil {
		t.Errorf("after our end: %q, %v", rest, err)
	}
	if r := w.request(); r.Status != 101 || r.BytesIn < 400000 || r.BytesOut < 400000 || len(r.Credentials) != 1 {
		t.Errorf("record %+v", r)
	}
}

// TestUpgradesRefused is C10: no other protocol, no content, no early bytes.
func TestUpgradesRefused(t *testing.T) {
	for name, request := range map[string]string{
		"h2c":        strings.ReplaceAll(upgrade, "websocket", "h2c"),
		"two":        strings.ReplaceAll(upgrade, "websocket", "websocket, h2c"),
		"content":    strings.Replace(upgrade, "Connection", "Content-Length: 3\r\nConnection", 1) + "abc",
		"late body":  strings.Replace(upgrade, "Connection", "Content-Length: 3\r\nConnection", 1),
		"not hop":    strings.ReplaceAll(upgrade, "Connection: Upgrade\r\n", ""),
		"early byte": upgrade + "x",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := w.originFor(echoAfterSwitch, host)
			w.use(policy.Intercept, w.openRoute())
			c := w.tls(as{original: o.addr}, host)
			_, _ = io.WriteString(c, request)
			got, _ := io.ReadAll(c)
			if status := statusOf(string(got)); status != 502 && status != 400 {
				t.Errorf("answer %q", got)
			}
			if name != "early byte" && strings.Contains(string(o.got()), "Upgrade:") {
				t.Errorf("the offer was forwarded: %q", o.got())
			}
		})
	}
}
