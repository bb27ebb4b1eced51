package http1_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/http1"
)

const smallGet = "GET /api/v1/items?limit=20 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"

// manyFields is a head as browsers and SDKs send it.
func manyFields() []byte {
	var b strings.Builder
	b.WriteString("POST /v1/payments/7f3c HTTP/1.1\r\nHost: api.example.com\r\nConnection: keep-alive\r\nContent-Length: 2\r\n")
	for i := range 27 {
		fmt.Fprintf(&b, "X-Amz-Header-%02d: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/%032d\r\n", i, i)
	}
	return []byte(b.String() + "\r\n")
}

const okResponse = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nContent-Type: application/json\r\n" +
	"Content-Length: 1024\r\nConnection: keep-alive\r\n\r\n"

// chunked is a body of 16 chunks of 4 KiB.
func chunked() []byte {
	return []byte(strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 16) + "0\r\n\r\n")
}

// hotPath is what each request costs; none of it may allocate.
func hotPath() map[string]func() error {
	var (
		r     http1.Request
		resp  http1.Response
		body  http1.Body
		edit  http1.Edit
		out   = make([]byte, 0, 4096)
		small = []byte(smallGet)
		many  = manyFields()
		ok    = []byte(okResponse)
		raw   = chunked()
		get   = []byte("GET")
		bad   = []byte("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
		count int
	)
	data := func(p []byte) { count += len(p) }
	whole := func(n int, err error, want int) error {
		if n != want || err != nil {
			return fmt.Errorf("%d bytes, %w", n, err)
		}
		return nil
	}
	return map[string]func() error{
		"ParseSmallGet": func() error { n, err := r.Parse(small); return whole(n, err, len(small)) },
		"Parse30Fields": func() error { n, err := r.Parse(many); return whole(n, err, len(many)) },
		"ParseResponse": func() error { n, err := resp.Parse(ok, get); return whole(n, err, len(ok)) },
		"ParseRefused": func() error {
			if _, err := r.Parse(bad); err == nil {
				return fmt.Errorf("two hosts accepted")
			}
			return nil
		},
		"AppendEdited": func() error {
			n, err := r.Parse(many)
			edit.Reset()
			r.Hop(&edit)
			edit.DropName(r.Fields, "authorization")
			edit.Add = http1.AppendField(edit.Add, "Authorization", "Bearer 0123456789abcdef")
			out = r.Append(out[:0], &edit)
			return whole(n, err, len(many))
		},
		"ScanChunked": func() error {
			body.Reset(http1.BodyChunked, 0)
			n, done, err := body.Scan(raw, data)
			if !done {
				return fmt.Errorf("not done: %w", err)
			}
			return whole(n, err, len(raw))
		},
	}
}

func TestAllocations(t *testing.T) {
	for name, f := range hotPath() {
		if err := f(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := testing.AllocsPerRun(100, func() { _ = f() }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkHTTP1(b *testing.B) {
	for name, f := range hotPath() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
