package clienthello_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/clienthello"
)

// vec prefixes b with its length in n bytes.
func vec(n int, b ...byte) []byte {
	var l [8]byte
	binary.BigEndian.PutUint64(l[:], uint64(len(b)))
	return append(l[8-n:], b...)
}

func ext(kind uint16, body ...byte) []byte {
	return append([]byte{byte(kind >> 8), byte(kind)}, vec(2, body...)...)
}

func sni(name string) []byte {
	return ext(0, vec(2, append([]byte{0}, vec(2, []byte(name)...)...)...)...)
}

// hello is a ClientHello message with these extensions.
func hello(exts ...[]byte) []byte {
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, vec(1)...)
	body = append(body, vec(2, 0x1a, 0x1a, 0x13, 0x01)...)
	body = append(body, vec(1, 0)...)
	if exts != nil {
		body = append(body, vec(2, bytes.Join(exts, nil)...)...)
	}
	return append([]byte{1}, vec(3, body...)...)
}

// records spreads a message over records of at most size bytes.
func records(msg []byte, size int) []byte {
	var out []byte
	for len(msg) > 0 {
		n := min(size, len(msg))
		out = append(append(out, 22, 3, 1), vec(2, msg[:n]...)...)
		msg = msg[n:]
	}
	return out
}

func TestParse(t *testing.T) {
	tls12 := []uint16{tls.VersionTLS12}
	for _, c := range []struct {
		name string
		exts [][]byte
		want clienthello.Hello
	}{
		{"no extensions", nil, clienthello.Hello{Versions: tls12}},
		{"empty extensions", [][]byte{{}}, clienthello.Hello{Versions: tls12}},
		{"name", [][]byte{sni("Api_1.example.com")}, clienthello.Hello{ServerName: "Api_1.example.com", Versions: tls12}},
		{"alpn and GREASE", [][]byte{ext(0x3a3a), ext(16, vec(2, append(vec(1, 0x0a, 0x0a), append(vec(1, 'h', '2'), vec(1, 'x')...)...)...)...)},
			clienthello.Hello{ALPN: []string{"h2", "x"}, Versions: tls12}},
		{"versions and GREASE", [][]byte{ext(43, vec(1, 0xfa, 0xfa, 3, 4, 3, 3)...)}, clienthello.Hello{Versions: []uint16{0x0304, 0x0303}}},
		{"shares and GREASE", [][]byte{ext(51, vec(2, append(append([]byte{0x2a, 0x2a}, vec(2, 0)...), append([]byte{0, 29}, vec(2, 1, 2, 3)...)...)...)...)},
			clienthello.Hello{Versions: tls12, Shares: []uint16{29}}},
		{"no share", [][]byte{ext(51, vec(2)...)}, clienthello.Hello{Versions: tls12, Shares: []uint16{}}},
		{"ech", [][]byte{sni("public.example"), ext(0xfe0d, 0)}, clienthello.Hello{ServerName: "public.example", Versions: tls12, ECH: true}},
		{"ticket", [][]byte{ext(35, 1)}, clienthello.Hello{Versions: tls12, Resumes: true}},
		{"no ticket", [][]byte{ext(35)}, clienthello.Hello{Versions: tls12}},
		{"psk", [][]byte{ext(41, 1)}, clienthello.Hello{Versions: tls12, Resumes: true}},
		{"last of many", [][]byte{ext(21, make([]byte, 60000)...), sni("a.example")}, clienthello.Hello{ServerName: "a.example", Versions: tls12}},
	} {
		msg := hello(c.exts...)
		for _, size := range []int{1, 2, 3, 4, 5, 100, 1 << 14} {
			raw := records(msg, size)
			got, err := clienthello.Parse(append(raw, 23, 3, 3, 0, 1, 0))
			if len(msg)/size > clienthello.MaxRecords {
				if err == nil {
					t.Errorf("%s: %d records accepted", c.name, len(msg)/size)
				}
				continue
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s in records of %d: %+v, %v", c.name, size, got, err)
			}
		}
	}
}

// The name is found wherever it stands (row B5).
func TestNameOffsets(t *testing.T) {
	at := func(raw []byte) int { return bytes.Index(raw, []byte("api.example")) }
	base := at(records(hello(ext(21), sni("api.example")), 1<<14))
	for _, offset := range []int{500, 1023, 1024, 1025, 4096, 16380, 16389, 16390, 32768, 65000} {
		padding := offset - base - offset/(1<<14)*5
		msg := hello(ext(21, make([]byte, padding)...), sni("api.example"), ext(0xfe0d, 0))
		raw := records(msg, 1<<14)
		for cut := range len(raw) {
			if cut > 600 && cut < len(raw)-600 && cut%997 != 0 {
				continue
			}
			if _, err := clienthello.Parse(raw[:cut]); !errors.Is(err, clienthello.ErrIncomplete) {
				t.Fatalf("offset %d, %d of %d bytes: %v", offset, cut, len(raw), err)
			}
		}
		if h, err := clienthello.Parse(raw); err != nil || h.ServerName != "api.example" || !h.ECH {
			t.Errorf("offset %d: %+v, %v", offset, h, err)
		}
	}
}

// Row T17: names that no certificate can be made for are errors.
func TestHostileNames(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 63)+".", 4)
	for _, name := range []string{
		"a\x00.example", "*", "*.example", "../../etc/passwd", "a/b", "a..b", ".a", "a..", ".", "-a.example", "a-.example", "a b",
		"bücher.example", "a\r\nb", "192.0.2.1.", "192.0.2.01", "[::1]", "fe80::1%eth0", "1", "1.", "127.1", "0x7f.0x1", "a.0x", "a:443", "u@a", "a%00b",
		long[:254], strings.Repeat("a", 64) + ".example", strings.Repeat("a", 60000), "a\\b", "a\x7f", "a,b", "a;b", "\"a\"",
	} {
		_, err := clienthello.Parse(records(hello(sni(name)), 1<<14))
		var e *clienthello.Error
		if !errors.As(err, &e) || e.Alert != 112 {
			t.Errorf("%.40q: %v", name, err)
		}
	}
	for _, name := range []string{"a", "a.b", "xn--bcher-kva.example", "1.a", "_a.b", "a--b.c", "0x.a", "3com", long[:253][:251] + "aa"} {
		if h, err := clienthello.Parse(records(hello(sni(name)), 1<<14)); err != nil || h.ServerName != name {
			t.Errorf("%.40q: %q, %v", name, h.ServerName, err)
		}
	}
}

// What RFC 6066 forbids and clients send all the same.
func TestIrregularNames(t *testing.T) {
	tls12 := []uint16{tls.VersionTLS12}
	for name, want := range map[string]clienthello.Hello{
		"a.":               {ServerName: "a", Dotted: true, Versions: tls12},
		"Api.example.com.": {ServerName: "Api.example.com", Dotted: true, Versions: tls12},
		"192.0.2.1":        {Address: netip.MustParseAddr("192.0.2.1"), Versions: tls12},
		"::ffff:192.0.2.1": {Address: netip.MustParseAddr("192.0.2.1"), Versions: tls12},
		"2001:DB8:0::1":    {Address: netip.MustParseAddr("2001:db8::1"), Versions: tls12},
	} {
		if h, err := clienthello.Parse(records(hello(sni(name)), 1<<14)); err != nil || !reflect.DeepEqual(h, want) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
}

func TestMalformed(t *testing.T) {
	good := hello(sni("a.example"))
	change := func(at int, b byte) []byte { c := bytes.Clone(good); c[at] = b; return records(c, 1<<14) }
	for name, raw := range map[string][]byte{
		"not TLS":              []byte("GET / HTTP/1.1\r\n"),
		"alert":                {21, 3, 1, 0, 2, 2, 40},
		"SSLv2":                {0x80, 0x2e, 1, 3, 1},
		"version 2":            {22, 2},
		"record too long":      {22, 3, 1, 0x40, 1},
		"empty record":         {22, 3, 1, 0, 0},
		"server hello":         {22, 3, 1, 0, 4, 2},
		"too large":            {22, 3, 1, 0, 4, 1, 1, 0, 0},
		"far too large":        {22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff},
		"trailing bytes":       append([]byte{22, 3, 1}, vec(2, append(bytes.Clone(good), 0)...)...),
		"trailing, announced":  {22, 3, 1, 0, 9, 1, 0, 0, 4},
		"other record between": append(records(good[:20], 20), 20, 3, 3, 0, 1, 1),
		"long session id":      change(4+34, 33),
		"short":                records(append([]byte{1}, vec(3, 3, 3)...), 100),
		"no suites":            records(append([]byte{1}, vec(3, append(append([]byte{3, 3}, make([]byte, 32)...), 0, 0, 0, 1, 0)...)...), 100),
		"bytes at the end":     records(append([]byte{1, 0, 0, byte(len(hello()) - 4 + 1)}, append(hello()[4:], 0)...), 100),
		"ext too long":         records(hello([]byte{0, 0, 0, 9, 0}), 100),
		"ext cut":              records(hello([]byte{0, 0, 0}), 100),
		"two names":            records(hello(sni("a"), sni("b")), 100),
		"unknown ext twice":    records(hello(ext(0x1234), ext(0x1234)), 100),
		"list of two names":    records(hello(ext(0, vec(2, 0, 0, 1, 'a', 0, 0, 1, 'b')...)), 100),
		"empty name":           records(hello(sni("")), 100),
		"empty name list":      records(hello(ext(0, 0, 0)), 100),
		"empty name ext":       records(hello(ext(0)), 100),
		"other type of name":   records(hello(ext(0, vec(2, 1, 0, 1, 'a')...)), 100),
		"empty alpn":           records(hello(ext(16, 0, 0)), 100),
		"empty protocol":       records(hello(ext(16, 0, 1, 0)), 100),
		"alpn cut":             records(hello(ext(16, 0, 3, 5, 'h', '2')), 100),
		"empty versions":       records(hello(ext(43, 0)), 100),
		"odd versions":         records(hello(ext(43, 3, 3, 4, 3)), 100),
		"share cut":            records(hello(ext(51, vec(2, 0, 29, 0, 4, 1)...)), 100),
		"share without a key":  records(hello(ext(51, vec(2, 0, 29, 0, 0)...)), 100),
		"bytes after shares":   records(hello(ext(51, 0, 0, 1)), 100),
	} {
		_, err := clienthello.Parse(raw)
		var e *clienthello.Error
		if !errors.As(err, &e) || e.Alert == 0 || !strings.HasPrefix(e.Error(), "clienthello: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIsTLS(t *testing.T) {
	for b, want := range map[string]bool{"": false, "\x16": true, "\x16\x03": true, "\x16\x03\x01\x02": true, "\x16\x02": false, "GET": false, "\x15\x03": false} {
		if clienthello.IsTLS([]byte(b)) != want {
			t.Errorf("%q: %v", b, !want)
		}
	}
}

// The work for a message in very many records stays bounded.
func TestMostRecords(t *testing.T) {
	raw := records(hello(ext(21, make([]byte, 4096)...)), 1)
	if _, err := clienthello.Parse(raw); err == nil || errors.Is(err, clienthello.ErrIncomplete) {
		t.Errorf("%d records: %v", len(raw)/6, err)
	}
	if len(raw) > clienthello.MaxSize {
		t.Error(fmt.Sprint("MaxSize is smaller than what was parsed: ", len(raw)))
	}
}
