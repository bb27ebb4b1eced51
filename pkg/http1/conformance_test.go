package http1_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/outwarden/outwarden/pkg/http1"
	"github.com/outwarden/outwarden/pkg/match"
)

// The cases that the conformance file has at the least; a fuller one may have more.
const leastCases = 139

type conformanceCase struct {
	Name, Group, Expect, Stage string
	Raw                        []byte   `json:"raw_base64"`
	Requests                   int      `json:"requests"`
	Bodies                     []string `json:"bodies_base64"`
}

func loadCases(tb testing.TB) []conformanceCase {
	tb.Helper()
	dir := os.Getenv("OUTWARDEN_CONFORMANCE")
	if dir == "" {
		if os.Getenv("CI") == "true" {
			tb.Fatal("OUTWARDEN_CONFORMANCE is not set")
		}
		tb.Skip("OUTWARDEN_CONFORMANCE is not set: no conformance data")
	}
	f, err := os.Open(filepath.Join(dir, "http1", "cases.jsonl"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	var out []conformanceCase
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c conformanceCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			tb.Fatal(err)
		}
		out = append(out, c)
	}
	if lines.Err() != nil || len(out) < leastCases {
		tb.Fatalf("%d cases, want %d at the least (%v)", len(out), leastCases, lines.Err())
	}
	return out
}

func TestConformance(t *testing.T) {
	for _, c := range loadCases(t) {
		t.Run(c.Group+"/"+c.Name, func(t *testing.T) {
			whole := serve(pieces(c.Raw))
			c.check(t, whole)
			if one := serve(pieces(c.Raw, each(len(c.Raw))...)); !one.same(whole) {
				t.Errorf("byte by byte: %v, in one piece: %v", one, whole)
			}
			for cut := range len(c.Raw) {
				if got := serve(pieces(c.Raw, cut)); !got.same(whole) {
					t.Errorf("cut at %d: %v, in one piece: %v", cut, got, whole)
				}
			}
		})
	}
}

func (c *conformanceCase) check(t *testing.T, got outcome) {
	t.Helper()
	if c.Expect == "reject" {
		if got.stage != c.Stage {
			t.Fatalf("refused at %q (%v), want %q", got.stage, got.err, c.Stage)
		}
		return
	}
	if got.stage != "" || len(got.requests) != c.Requests {
		t.Fatalf("%d requests, refused at %q (%v); want %d", len(got.requests), got.stage, got.err, c.Requests)
	}
	var received []byte
	for i, r := range got.requests {
		want, _ := base64.StdEncoding.DecodeString(c.Bodies[i])
		if !bytes.Equal(r.body, want) {
			t.Errorf("body %d is %q, want %q", i, r.body, want)
		}
		if len(r.skipped) > 0 && string(r.skipped) != "\r\n" {
			t.Errorf("skipped %q before request %d", r.skipped, i)
		}
		received = append(append(received, r.skipped...), r.raw...)
	}
	if received = append(received, got.rest...); !bytes.Equal(received, c.Raw) {
		t.Errorf("skipped and forwarded %q, received %q", received, c.Raw)
	}
}

// exchange is one request as an upstream would get it, and the empty line before
// it, which it does not get.
type exchange struct{ skipped, raw, body []byte }

// outcome is what became of all bytes of one connection.
type outcome struct {
	requests []exchange
	rest     []byte // what came behind the last one: an empty line or a part of it, or anything behind a close
	stage    string // where it was refused; empty for a clean end
	err      error
}

func (o outcome) same(p outcome) bool {
	if o.stage != p.stage || o.err != p.err || len(o.requests) != len(p.requests) {
		return false
	}
	for i := range o.requests {
		if !bytes.Equal(o.requests[i].raw, p.requests[i].raw) || !bytes.Equal(o.requests[i].body, p.requests[i].body) {
			return false
		}
	}
	return true
}

// feed hands out a byte string in pieces.
type feed struct {
	pieces [][]byte
	buf    []byte // received and not consumed
}

// pieces cuts raw at the given offsets.
func pieces(raw []byte, cuts ...int) *feed {
	f, from := &feed{}, 0
	for _, c := range append(cuts, len(raw)) {
		f.pieces = append(f.pieces, raw[from:c])
		from = c
	}
	return f
}

func each(n int) []int {
	cuts := make([]int, n)
	for i := range cuts {
		cuts[i] = i
	}
	return cuts
}

// more receives the next piece into a new buffer, so that nothing can depend on
// where the last one lay. It reports false at the end of the connection.
func (f *feed) more() bool {
	if len(f.pieces) == 0 {
		return false
	}
	f.buf = append(bytes.Clone(f.buf), f.pieces[0]...)
	f.pieces = f.pieces[1:]
	return true
}

// serve does what a proxy with a path policy does with a connection.
func serve(f *feed) (o outcome) {
	var r http1.Request
	for {
		n, err := r.Parse(f.buf)
		switch {
		case err != nil:
			o.stage, o.err = "head", err
			return o
		case n == 0 && f.more():
			continue
		case n == 0:
			if o.rest = f.buf; !http1.Blank(f.buf) {
				o.stage = "head"
			}
			return o
		case match.AmbiguousPath(string(r.Path)):
			o.stage = "path"
			return o
		}
		e := exchange{skipped: f.buf[:n-len(r.Head)], raw: r.Append(nil, nil)}
		keepAlive := r.KeepAlive
		var b http1.Body
		b.Reset(r.Body, r.Length)
		f.buf = f.buf[n:]
		if o.err = receive(f, &b, &e); o.err != nil {
			o.stage = "body"
			return o
		}
		if o.requests = append(o.requests, e); !keepAlive {
			o.rest = f.buf
			return o
		}
	}
}

// receive reads the body of one request.
func receive(f *feed, b *http1.Body, e *exchange) error {
	for {
		n, done, err := b.Scan(f.buf, func(p []byte) { e.body = append(e.body, p...) })
		e.raw = append(e.raw, f.buf[:n]...)
		f.buf = f.buf[n:]
		if err != nil || done {
			return err
		}
		if !f.more() {
			return b.EOF()
		}
	}
}
