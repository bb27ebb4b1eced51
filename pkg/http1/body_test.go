package http1_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/http1"
)

// scan feeds raw in pieces of the given size and returns the content, what the
// body left, and the error.
func scan(b *http1.Body, raw string, size int) (content, rest string, err error) {
	var out strings.Builder
	for p := []byte(raw); ; {
		piece := p[:min(size, len(p))]
		n, done, err := b.Scan(piece, func(d []byte) { out.Write(d) })
		p = p[n:]
		if err != nil || done {
			return out.String(), string(p), err
		}
		if len(p) == 0 {
			return out.String(), "", b.EOF()
		}
	}
}

func TestBody(t *testing.T) {
	for _, c := range []struct {
		kind          http1.BodyKind
		length        int64
		raw           string
		content, rest string
	}{
		{http1.BodyNone, 0, "GET", "", "GET"},
		{http1.BodyLength, 0, "GET", "", "GET"},
		{http1.BodyLength, 3, "abcGET", "abc", "GET"},
		{http1.BodyUntilClose, 0, "abcGET", "abcGET", ""},
		{http1.BodyChunked, 0, "0\r\n\r\nGET", "", "GET"},
		{http1.BodyChunked, 0, "3\r\nabc\r\n00A\r\n0123456789\r\n0;x=\"\\\"\"\r\nX-Sum: 1\r\ny:\r\n\r\nGET", "abc0123456789", "GET"},
		{http1.BodyChunked, 0, "1 \t; a = b ;c; d=\"\t;\\\\ \xff\"\r\nx\r\n0\r\n\r\n", "x", ""},
		{http1.BodyChunked, 0, "0000000000000001\r\nx\r\n0000000000000000\r\n\r\n", "x", ""},
		{http1.BodyChunked, 0, "1;" + strings.Repeat("a", 4095) + "\r\nx\r\n0\r\n\r\n", "x", ""},
	} {
		for size := 1; size <= len(c.raw); size++ {
			var b http1.Body
			b.Reset(c.kind, c.length)
			content, rest, err := scan(&b, c.raw, size)
			if content != c.content || rest != c.rest || err != nil || !b.Done() {
				t.Fatalf("%q in pieces of %d: %q, %q, %v", c.raw, size, content, rest, err)
			}
		}
	}
}

func TestBodyRefused(t *testing.T) {
	x := "1\r\nx\r\n"
	for _, raw := range []string{
		"\r\n", "x", "0x1\r\n", "+1\r\n", "-1\r\n", " 1\r\n", "1 \r\n", "1\t\r\n", "1\n", "1\r\r\n", "1\rx", "1,1\r\n", "1 1\r\n", "\n1\r\n",
		"1\r\nx", "1\r\nxx\r\n", "1\r\nx\n0\r\n\r\n", "1\r\nx\r0\r\n\r\n", x, x + "\r\n",
		"8000000000000000\r\n", "FFFFFFFFFFFFFFFF\r\n", "00000000000000001\r\n", "10000000000000000\r\n",
		"1;\r\nx", "1;;a\r\n", "1;a=\r\n", "1;a=;b\r\n", "1;a \r\n", "1;a=b \r\n", "1;a=\"b\r\n\r\n", "1;a=\"\x00\"\r\n", "1;a=\"\\\n\"\r\n", "1;a=\"b\"c\r\n",
		"1;a\n", "1;a b\r\n", "1;=b\r\n", "1;a=b=c\r\n", "1;a\x80\r\n", "1;a=\"\x7f\"\r\n", "1=a\r\n", "1;a\"b\"\r\n",
		"1;" + strings.Repeat("a", 4096) + "\r\nx\r\n0\r\n\r\n", "1" + strings.Repeat(" ", 5000) + ";a\r\n",
		"0\r\n", "0\r\n\n", "0\r\n\rx", "0\n\r\n", "0\r\nA: b\n\r\n", "0\r\nA: b\r\n c\r\n\r\n", "0\r\n A: b\r\n\r\n", "0\r\nA : b\r\n\r\n", "0\r\n: b\r\n\r\n", "0\r\nA\r\n\r\n",
		"0\r\nA: b\x00\r\n\r\n", "0\r\nA: b\r\r\n\r\n", "0\r\nA\x80: b\r\n\r\n", "0\r\nA: b\r\n",
		"0\r\nhost: a\r\n\r\n", "0\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\nCONTENT-LENGTH: 1\r\n\r\n", "0\r\nAuthorization: x\r\n\r\n", "0\r\nCookie: x\r\n\r\n",
		"0\r\nX-Signature: x\r\n\r\n", "0\r\nA: b\r\nx-signature:\r\n\r\n",
		"0\r\nA: " + strings.Repeat("b", http1.MaxHead) + "\r\n\r\n", "0\r\n" + strings.Repeat("A:\r\n", http1.MaxFields+1) + "\r\n",
	} {
		for _, size := range []int{1, 2, 3, 7, 1 << 20} {
			var b http1.Body
			b.Reset(http1.BodyChunked, 0)
			b.Deny(func(name []byte) bool { return string(name) == "x-signature" })
			_, _, err := scan(&b, raw, size)
			var e *http1.Error
			if !errors.As(err, &e) || b.Done() {
				t.Errorf("%.80q in pieces of %d: %v", raw, size, err)
			}
		}
	}
}

func TestBodyCutShort(t *testing.T) {
	var b http1.Body
	b.Reset(http1.BodyLength, 10)
	if _, _, err := scan(&b, "hello", 3); !errors.Is(err, http1.ErrTruncated) {
		t.Errorf("length: %v", err)
	}
	b.Reset(http1.BodyChunked, 0)
	if _, _, err := scan(&b, "A\r\nhello", 3); !errors.Is(err, http1.ErrTruncated) {
		t.Errorf("chunked: %v", err)
	}
}

// A body that failed does not recover, whatever comes.
func TestBodyFailsAgain(t *testing.T) {
	var b http1.Body
	b.Reset(http1.BodyChunked, 0)
	if _, _, err := b.Scan([]byte("x"), nil); err == nil {
		t.Fatal("no error")
	}
	if n, done, err := b.Scan([]byte("0\r\n\r\n"), nil); err == nil || done || n != 0 || b.EOF() == nil {
		t.Errorf("recovered: %d, %v, %v", n, done, err)
	}
}

// TestTail: who frames a content anew gets the trailer section, and nothing else, in
// whatever pieces it comes.
func TestTail(t *testing.T) {
	const content, tail = "3\r\nabc\r\n0;x=y\r\n", "X-A: 1\r\nX-B: 2\r\n\r\n"
	for size := 1; size <= len(content+tail); size++ {
		var b http1.Body
		var got []byte
		b.Reset(http1.BodyChunked, 0)
		b.Tail(&got)
		for p := []byte(content + tail + "HTTP/1.1 200"); !b.Done(); {
			n, _, err := b.Scan(p[:min(size, len(p))], nil)
			if err != nil {
				t.Fatal(err)
			}
			p = p[n:]
		}
		if string(got) != tail {
			t.Errorf("in pieces of %d: %q", size, got)
		}
	}
}
