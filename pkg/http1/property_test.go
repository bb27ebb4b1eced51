package http1_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/http1"
	"pgregory.net/rapid"
)

// request draws one request of the grammar, with its body as the upstream reads
// it.
func request(t *rapid.T) exchange {
	target := "/" + rapid.StringMatching(`([a-z0-9._~!$&'()*+,=:@-]|%[3-6][1-9]){0,12}(\?[a-z0-9/?%]{0}[a-z=&/?.]{0,9})?`).Draw(t, "target")
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\n", rapid.StringMatching(`[A-Z!#$%&'*+.^_|~-]{1,9}x`).Draw(t, "method"), target)
	fields := []string{rapid.SampledFrom([]string{"Host", "host", "HOST"}).Draw(t, "name") + ":" + rapid.StringMatching(`[ \t]{0,2}[a-z0-9_]{1,9}(\.[a-z]{1,5})?(:[0-9]{0,4})?[ \t]{0,2}`).Draw(t, "host")}
	for range rapid.IntRange(0, 4).Draw(t, "fields") {
		fields = append(fields, rapid.StringMatching("[A-Za-z0-9!#$%&'*+.^_|~-]{1,20}x:[ -~\\t\u00e9]{0,40}").Draw(t, "field"))
	}
	body := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "body")
	raw := body
	switch rapid.IntRange(0, 2).Draw(t, "framing") {
	case 0:
		raw, body = nil, nil
	case 1:
		fields = append(fields, fmt.Sprintf("Content-Length: %d", len(body)))
	case 2:
		fields = append(fields, "Transfer-Encoding: chunked")
		raw = chunks(t, body)
	}
	fields = rapid.Permutation(fields).Draw(t, "order")
	fmt.Fprintf(&head, "%s\r\n\r\n", strings.Join(fields, "\r\n"))
	return exchange{raw: append(head.Bytes(), raw...), body: body}
}

// chunks draws a chunked spelling of the body.
func chunks(t *rapid.T, body []byte) (raw []byte) {
	for len(body) > 0 {
		n := rapid.IntRange(1, len(body)).Draw(t, "chunk")
		ext := rapid.StringMatching(`([ \t]?;[ \t]?[a-z]{1,3}([ \t]?=[ \t]?([a-z]{1,3}|"[a-z ;=]{0,5}(\\["a])?"))?){0,2}`).Draw(t, "ext")
		raw = fmt.Appendf(raw, "%0*X%s\r\n%s\r\n", rapid.IntRange(1, 16).Draw(t, "digits"), n, ext, body[:n])
		body = body[n:]
	}
	return append(raw, rapid.SampledFrom([]string{"0\r\n\r\n", "000;x\r\nA: b\r\nc:\r\n\r\n"}).Draw(t, "end")...)
}

// What the grammar allows is accepted, on one connection after the other, and
// comes out as it went in.
func TestValidRequests(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want outcome
		var raw []byte
		for range rapid.IntRange(1, 3).Draw(t, "requests") {
			e := request(t)
			want.requests, raw = append(want.requests, e), append(raw, e.raw...)
		}
		got := serve(pieces(raw, rapid.IntRange(0, len(raw)).Draw(t, "cut")))
		if got.stage == "path" {
			t.Skip("the path has two readings")
		}
		if !got.same(want) {
			t.Fatalf("%q: %v %v, %q", raw, got.stage, got.err, got.requests)
		}
	})
}

// One byte changed, left out or put in: the request is refused, or every reader
// reads what we forward alike (rows C1 and C2).
func TestMutatedRequests(t *testing.T) {
	interesting := []byte("\x00\t\n\x0b\r !\"#%,-./0159:;=?@A[\\]_a{|}\x7f\x80\xa0\xff")
	rapid.Check(t, func(rt *rapid.T) {
		raw := request(rt).raw
		for range 40 {
			at := rapid.IntRange(0, len(raw)-1).Draw(rt, "at")
			b := rapid.SampledFrom(interesting).Draw(rt, "byte")
			kept := at + rapid.IntRange(0, 1).Draw(rt, "replace")
			put := []byte{b}[:rapid.IntRange(0, 1).Draw(rt, "put")]
			mutated := bytes.Join([][]byte{raw[:at], put, raw[kept:]}, nil)
			for _, e := range serve(pieces(mutated)).requests {
				agree(t, e)
			}
		}
	})
}

// A head that comes byte by byte is whole for who minds Again as soon as for who does
// not, and is read a few times for each of its lines.
func TestAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := request(t).raw
		var want, got http1.Request
		whole, err := want.Parse(raw)
		if err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		passes, seen := 0, 0
		for n := 1; n <= whole; n++ {
			if !http1.Again(raw[:n], seen) {
				continue
			}
			passes++
			used, err := got.Parse(raw[:n])
			if err != nil || used != 0 && n < whole || n == whole && used != whole {
				t.Fatalf("%q, %d bytes of it: used %d, %v", raw, n, used, err)
			}
			seen = n
		}
		if seen != whole || passes > bytes.Count(raw[:whole], []byte("\n"))+16 {
			t.Errorf("%q: %d passes, the last at %d", raw, passes, seen)
		}
	})
}
