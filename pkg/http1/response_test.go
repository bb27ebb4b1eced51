package http1_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/http1"
)

func TestResponseFraming(t *testing.T) {
	for _, c := range []struct {
		method, head string // without the last CRLF
		kind         http1.BodyKind
		length       int64
		keepAlive    bool
	}{
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", http1.BodyLength, 5, true},
		{"GET", "HTTP/1.1 200 \r\nTransfer-Encoding: Chunked\r\n", http1.BodyChunked, 0, true},
		{"GET", "HTTP/1.1 200 OK\r\n", http1.BodyUntilClose, 0, false},
		{"GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n", http1.BodyLength, 5, false},
		{"GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n", http1.BodyLength, 5, true},
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n", http1.BodyLength, 5, false},
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", http1.BodyNone, 0, true},
		{"HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", http1.BodyNone, 0, true},
		{"HEAD", "HTTP/1.1 200 OK\r\n", http1.BodyNone, 0, true},
		{"head", "HTTP/1.1 200 OK\r\n", http1.BodyUntilClose, 0, false},
		{"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n", http1.BodyNone, 0, true},
		{"POST", "HTTP/1.1 204 \r\n", http1.BodyNone, 0, true},
		{"POST", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n", http1.BodyNone, 0, true},
		{"POST", "HTTP/1.1 100 Continue\r\n", http1.BodyNone, 0, true},
		{"POST", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n", http1.BodyNone, 0, true},
		{"CONNECT", "HTTP/1.1 200 OK\r\n", http1.BodyNone, 0, true},
		{"CONNECT", "HTTP/1.1 407 No\r\nContent-Length: 2\r\n", http1.BodyLength, 2, true},
		{"GET", "HTTP/1.1 999 caf\xe9\tok\r\nContent-Length: 0\r\n", http1.BodyLength, 0, true},
	} {
		var r http1.Response
		raw := c.head + "\r\n"
		n, err := r.Parse([]byte(raw+"rest"), []byte(c.method))
		if err != nil || n != len(raw) || string(r.Head) != raw || r.Body != c.kind || r.Length != c.length || r.KeepAlive != c.keepAlive {
			t.Errorf("%s %q: n %d, err %v, body %d %d, keep %v", c.method, raw, n, err, r.Body, r.Length, r.KeepAlive)
		}
		if string(r.Append(nil, nil)) != raw {
			t.Errorf("%q does not come back", raw)
		}
	}
}

func TestRest(t *testing.T) {
	for fields, want := range map[string]int{
		"":                                      -1,
		"Keep-Alive: timeout=5\r\n":             5,
		"keep-alive: Timeout = 72, max=100\r\n": 72,
		"Keep-Alive: max=100,timeout=0\r\n":     0,
		"Keep-Alive: 300\r\n":                   -1,
		"Keep-Alive: timeout=\r\n":              -1,
		"Keep-Alive: timeout=-5\r\n":            -1,
		"Keep-Alive: timeout=99999999999\r\n":   -1,
	} {
		var r http1.Response
		_, err := r.Parse([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"+fields+"\r\n"), []byte("GET"))
		if err != nil || r.Rest != want {
			t.Errorf("%q: %d, %v, want %d", fields, r.Rest, err, want)
		}
	}
}

// Row C12: what a hostile upstream sends is refused, never passed on.
func TestResponseRefused(t *testing.T) {
	ok := func(f string) string { return "HTTP/1.1 200 OK\r\n" + f + "\r\n" }
	for _, raw := range []string{
		"HTTP/1.1 200\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n",
		"HTTP/1.1 +20 OK\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.2 200 OK\r\n\r\n", "http/1.1 200 OK\r\n\r\n", "ICY 200 OK\r\n\r\n",
		"\r\nHTTP/1.1 200 OK\r\n\r\n", " HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1\t200 OK\r\n\r\n", "HTTP/1.1 200 O\rK\r\n\r\n", "HTTP/1.1 200 OK\n\n",
		"HTTP/1.1 200 O\x00K\r\n\r\n", "<html>",
		ok("Content-Length: 1\r\nContent-Length: 1\r\n"), ok("Content-Length: 1, 1\r\n"), ok("Content-Length: -1\r\n"), ok("Content-Length: 01\r\n"),
		ok("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), ok("Transfer-Encoding: gzip, chunked\r\n"), ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
		ok("Transfer-Encoding: identity\r\n"), "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		ok("A: b\r\n c\r\n"), ok("A: b\r\n\tc\r\n"), ok(" A: b\r\n"), ok("A: b\rSet-Cookie: x\r\n"), ok("A: b\nSet-Cookie: x\r\n"), ok("A: b\x00\r\n"),
		ok("A : b\r\n"), ok("A\r\n"), ok(": b\r\n"), ok("A: b\n"), ok("Connection: a b\r\n"), ok("Upgrade: a\r\nUpgrade: b\r\n"),
		"HTTP/1.1 204 No\r\nContent-Length: 1\r\n\r\n", "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 100 Go\r\nContent-Length: 1\r\n\r\n",
		"HTTP/1.1 101 Go\r\nTransfer-Encoding: chunked\r\n\r\n",
		ok("A: " + strings.Repeat("b", 1<<20) + "\r\n"), ok(strings.Repeat("A: b\r\n", http1.MaxFields+1)),
	} {
		var r http1.Response
		var e *http1.Error
		n, err := r.Parse([]byte(raw), []byte("GET"))
		if !errors.As(err, &e) || e.Status != 502 || n != 0 {
			t.Errorf("%.120q: %d, %v", raw, n, err)
		}
	}
}
