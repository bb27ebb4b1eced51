package http1_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/http1"
)

// FuzzRequest: it does not matter where the bytes are cut; what is accepted
// comes out as it went in and is read the same again; and where net/http reads
// it too, it reads the same request.
func FuzzRequest(f *testing.F) {
	for _, raw := range []string{
		smallGet, string(manyFields()) + "{}" + smallGet, "\r\nPOST /p?q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x=\"y\"\r\nz\r\n0\r\nA: b\r\n\r\n" + smallGet,
		"GET http://a:80?q HTTP/1.0\r\nHost: A:80\r\nConnection: keep-alive\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: [::1]\r\nConnection: close, x\r\n\r\n",
		"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding : chunked\r\n\r\nabc",
		"GET /%41 HTTP/1.1\nHost: a\r\nA: b\r\n c\r\n\r\n",
	} {
		f.Add([]byte(raw), uint(len(raw)/2))
	}
	if os.Getenv("OUTWARDEN_CONFORMANCE") != "" {
		for _, c := range loadCases(f) {
			f.Add(c.Raw, uint(len(c.Raw)/2))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, cut uint) {
		whole := serve(pieces(raw))
		if got := serve(pieces(raw, int(cut%uint(len(raw)+1)))); !got.same(whole) {
			t.Errorf("cut: %v, whole: %v", got, whole)
		}
		if got := serve(pieces(raw, each(min(len(raw), 300))...)); !got.same(whole) {
			t.Errorf("byte by byte: %v, whole: %v", got, whole)
		}
		var forwarded []byte
		for _, e := range whole.requests {
			forwarded = append(forwarded, e.raw...)
			agree(t, e)
		}
		again := serve(pieces(forwarded))
		again.stage, again.err = whole.stage, whole.err
		if !again.same(whole) {
			t.Errorf("forwarded bytes are read as %v, want %v", again, whole)
		}
		if skipped := bytes.ReplaceAll(raw, []byte("\r\n"), nil); !bytes.HasPrefix(skipped, bytes.ReplaceAll(forwarded, []byte("\r\n"), nil)) {
			t.Errorf("forwarded %q of %q", forwarded, raw)
		}
	})
}

// agree compares one accepted request with what net/http makes of it.
func agree(t *testing.T, e exchange) {
	t.Helper()
	var r http1.Request
	if _, err := r.Parse(e.raw); err != nil {
		t.Errorf("forwarded %q is refused: %v", e.raw, err)
		return
	}
	theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(e.raw)))
	if err != nil {
		return
	}
	if theirs.Method != string(r.Method) || theirs.RequestURI != string(r.Target) {
		t.Errorf("net/http reads %s %s from %q", theirs.Method, theirs.RequestURI, e.raw)
	}
	if !strings.EqualFold(theirs.Host, string(r.Host)) && theirs.Method != "CONNECT" {
		t.Errorf("net/http reads host %q from %q", theirs.Host, e.raw)
	}
	// It refuses more: whitespace before an extension, and many extensions.
	if body, err := io.ReadAll(theirs.Body); !bytes.HasPrefix(e.body, body) || err == nil && len(body) != len(e.body) {
		t.Errorf("net/http reads body %q (%v) from %q", body, err, e.raw)
	}
	if theirs.Close == r.KeepAlive && r.Minor == 1 {
		t.Errorf("net/http reads close %v from %q", theirs.Close, e.raw)
	}
}

// FuzzHop: what is dropped leaves a request of the same kind.
func FuzzHop(f *testing.F) {
	f.Add("Connection: close, x-a\r\nX-A: b\r\nUpgrade: x\r\n")
	f.Add("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nTE: trailers\r\n")
	f.Fuzz(func(t *testing.T, fields string) {
		raw := []byte("POST /p HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n")
		var r, out http1.Request
		if n, err := r.Parse(raw); err != nil || n != len(raw) {
			return
		}
		var e, again http1.Edit
		r.Hop(&e)
		forwarded := r.Append(nil, &e)
		if n, err := out.Parse(forwarded); err != nil || n != len(forwarded) {
			t.Fatalf("%q becomes %q: %v", raw, forwarded, err)
		}
		if out.Body != r.Body || out.Length != r.Length || !bytes.Equal(out.Upgrade, r.Upgrade) || !out.KeepAlive {
			t.Errorf("%q becomes %q", raw, forwarded)
		}
		if out.Hop(&again); !again.Empty() {
			t.Errorf("%q is not clean yet", forwarded)
		}
	})
}

// FuzzResponse: what is accepted comes out as it went in, any cut reads the
// same, and net/http agrees about status and content.
func FuzzResponse(f *testing.F) {
	for _, raw := range []string{
		okResponse, "HTTP/1.1 204 No\r\n\r\n", "HTTP/1.0 200 \r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", "HTTP/1.1 101 a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nA: b\rSet-Cookie: c\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
	} {
		f.Add([]byte(raw), "GET", uint(9))
		f.Add([]byte(raw), "HEAD", uint(20))
	}
	f.Fuzz(func(t *testing.T, raw []byte, method string, cut uint) {
		var whole, part http1.Response
		n, err := whole.Parse(raw, []byte(method))
		m, partErr := part.Parse(raw[:cut%uint(len(raw)+1)], []byte(method))
		if m > 0 && m != n || partErr != nil && !errors.Is(err, partErr) {
			t.Errorf("whole: %d %v, cut: %d %v", n, err, m, partErr)
		}
		if n == 0 || err != nil {
			return
		}
		if got := whole.Append(nil, nil); !bytes.Equal(got, raw[:n]) {
			t.Errorf("%q comes out as %q", raw[:n], got)
		}
		var b http1.Body
		b.Reset(whole.Body, whole.Length)
		content, _, err := scan(&b, string(raw[n:]), 1<<20)
		theirs, theirErr := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), &http.Request{Method: method})
		if err != nil || theirErr != nil || method == "CONNECT" {
			return
		}
		body, theirErr := io.ReadAll(theirs.Body)
		if theirs.StatusCode != whole.Status || theirErr != nil || string(body) != content {
			t.Errorf("net/http reads %d %q (%v), we %d %q", theirs.StatusCode, body, theirErr, whole.Status, content)
		}
	})
}

// FuzzBody: pieces of any size give the same content and the same end.
func FuzzBody(f *testing.F) {
	for _, raw := range []string{
		"5\r\nhello\r\n0\r\n\r\nGET", "5;a=\"b;\\\"c\" ;d\r\nhello\r\n0;x\r\nX-Sum: a\r\n\r\n", "0\r\nHost: a\r\n\r\n",
		"00000000000000005\r\n", "5\nhello", "5 ;\t a\t=\tb\r\n", "7fffffffffffffff\r\n", "0\r\n X: y\r\n\r\n",
	} {
		f.Add(raw, uint8(1), uint8(http1.BodyChunked), int64(3))
	}
	f.Fuzz(func(t *testing.T, raw string, size, kind uint8, length int64) {
		var a, b http1.Body
		a.Reset(http1.BodyKind(kind%4), max(length, 0))
		b.Reset(http1.BodyKind(kind%4), max(length, 0))
		content, rest, err := scan(&a, raw, 1<<20)
		pieces, restPieces, errPieces := scan(&b, raw, int(size)+1)
		if content != pieces || !errors.Is(err, errPieces) || err == nil && rest != restPieces {
			t.Errorf("whole %q %q %v, pieces %q %q %v", content, rest, err, pieces, restPieces, errPieces)
		}
	})
}

// FuzzAddress: brackets hold what net/netip takes for an IPv6 address.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"::", "::1", "1:2:3:4:5:6:7:8", "1::8", "::ffff:192.0.2.1", "1:2:3:4:5:6:7::", "::1%eth0", "1::2::3", ":::", "::01.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		addr, err := netip.ParseAddr(s)
		want := err == nil && addr.Is6() && addr.Zone() == ""
		var r http1.Request
		n, err := r.Parse([]byte("GET / HTTP/1.1\r\nHost: [" + s + "]\r\n\r\n"))
		if got := n > 0 && err == nil && string(r.Host) == "["+s+"]"; got != want {
			t.Errorf("[%s]: %v, netip says %v", s, got, want)
		}
	})
}
