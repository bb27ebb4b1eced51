package h2_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// origin is x/net's server in clear.
func origin(t testing.TB, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			wg.Go(func() {
				(&http2.Server{MaxConcurrentStreams: 100}).ServeConn(c, &http2.ServeConnOpts{Handler: h})
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// client is x/net's transport in clear, to addr whatever the URL says.
func client(t testing.TB, addr string) *http2.Transport {
	tr := &http2.Transport{AllowHTTP: true, DisableCompression: true,
		DialTLSContext: func(context.Context, string, string, *tls.Config) (net.Conn, error) { return net.Dial("tcp", addr) }}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// echo answers with what the request says of itself, and as its body asks.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Method", r.Method)
	w.Header().Set("X-Uri", r.RequestURI)
	w.Header().Set("X-Length", strconv.FormatInt(r.ContentLength, 10))
	w.Header().Set("Trailer", "X-Sum")
	if r.URL.Query().Has("hint") {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
	}
	if n, err := strconv.Atoi(r.URL.Query().Get("fixed")); err == nil {
		w.Header().Set("Content-Length", strconv.Itoa(n))
		_, _ = w.Write(bytes.Repeat([]byte("x"), n))
		return
	}
	sum := sha256.New()
	_, _ = io.Copy(io.MultiWriter(w, sum), r.Body)
	w.Header().Set("X-Sum", fmt.Sprintf("%x", sum.Sum(nil)))
	if v := r.Trailer.Get("X-Client"); v != "" {
		w.Header().Set(http.TrailerPrefix+"X-Back", v)
	}
}

type answer struct {
	status  int
	header  http.Header
	body    [32]byte
	size    int
	trailer http.Header
}

func fetch(t testing.TB, tr http.RoundTripper, method, target string, body io.Reader) answer {
	t.Helper()
	req, err := http.NewRequest(method, "http://api.example"+target, body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: body: %v", method, target, err)
	}
	delete(res.Header, "Date")
	return answer{res.StatusCode, res.Header, sha256.Sum256(got), len(got), res.Trailer}
}

func (a answer) equal(b answer) bool {
	same := func(x, y http.Header) bool {
		return maps.EqualFunc(x, y, func(p, q []string) bool { return strings.Join(p, "\n") == strings.Join(q, "\n") })
	}
	return a.status == b.status && a.body == b.body && same(a.header, b.header) && same(a.trailer, b.trailer)
}

// specOrigin answers every request with a body, as h2spec wants for its tests of
// flow control.
var specOrigin = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(w, "a body of a few bytes")
})
