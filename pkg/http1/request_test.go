package http1_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/http1"
)

// get is a request whose line ends in CRLF and whose Host is right.
func get(line string, fields ...string) string {
	return line + "\r\nHost: api.example.com\r\n" + strings.Join(fields, "\r\n") + strings.Repeat("\r\n", min(len(fields), 1)) + "\r\n"
}

func TestRequestParts(t *testing.T) {
	const raw = "\r\nPOST /v1/pay?id=7&x=/../%2f?y HTTP/1.1\r\nHOST:  api.example.com:443\t\r\n" +
		"Upgrade: websocket\r\nConnection: , keep-alive ,Upgrade\r\nExpect: 100-Continue\r\nX-Empty:\r\ncontent-length: 5\r\n\r\nhello"
	var r http1.Request
	n, err := r.Parse([]byte(raw))
	if err != nil || raw[n:] != "hello" {
		t.Fatalf("Parse = %d, %v", n, err)
	}
	got := fmt.Sprintf("%s|%s|%s|%s|%d|%d|%d|%v|%v|%s|%v|%q", r.Method, r.Path, r.Query, r.Host, r.Minor,
		r.Body, r.Length, r.KeepAlive, r.Expect100, r.Upgrade, r.Absolute, r.Value("x-empty"))
	want := `POST|/v1/pay|id=7&x=/../%2f?y|api.example.com:443|1|1|5|true|true|websocket|false|""`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if string(r.Head) != raw[2:n] || len(r.Fields) != 6 {
		t.Errorf("head %q, %d fields", r.Head, len(r.Fields))
	}
	if r.Value("x-none") != nil {
		t.Error("a field that is not there has a value")
	}
}

func TestRequestAccepted(t *testing.T) {
	host := func(h string) string { return "GET / HTTP/1.1\r\nHost: " + h + "\r\n\r\n" }
	for _, raw := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
		get("GET /?"), get("GET /a?b?c"), get("GET //a//"), get("GET /?ids[]=1&q={a|b}^`\\"), get("GET /?query=up{job=\"api\"}<2>1"), get("GET /a=b&c;d@e:f!$'()*+,~_-.%7E%20"),
		get("!#$%&'*+-.^_`|~ /x HTTP/1.1"),
		host("a:0"), host("a:65535"), host("a:"), host("192.0.2.1"), host("192.0.2.1:80"), host("a.b."), host("_srv._tcp.a"),
		host("[::1]"), host("[::1]:443"), host("[2001:db8::192.0.2.1]"), host("[1:2:3:4:5:6:7:8]"), host("[1:2:3:4:5:6:7::]"), host("[::]"),
		"GET HTTP://A.example HTTP/1.1\r\nHost: a.EXAMPLE\r\n\r\n",
		"GET https://a:443?q HTTP/1.1\r\nHost: a:443\r\n\r\n",
		"GET http://[::1]:80/x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
		"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
		"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		get("POST / HTTP/1.1", "Transfer-Encoding: CHUNKED"), get("POST / HTTP/1.1", "Transfer-Encoding: \t chunked\t "),
		get("POST / HTTP/1.1", "Content-Length: 9223372036854775807"), get("POST / HTTP/1.1", "Content-Length:0 \t"),
		get("GET / HTTP/1.1", "A:\t b \x80\xff~ "), get("GET / HTTP/1.1", "A:"), get("GET / HTTP/1.1", "Connection:"),
		get("GET / HTTP/1.1", "Connection: TE, X-A", "Connection: ,,close", "TE: trailers"),
		get("GET / HTTP/1.1", "X-Transfer-Encoding: cow", "Content_Length: 7"),
	} {
		raw = completeVersion(raw)
		var r http1.Request
		if n, err := r.Parse([]byte(raw)); err != nil || n != len(raw) {
			t.Errorf("%q: %d, %v", raw, n, err)
		}
	}
}

// completeVersion puts the version into a request line that lacks one.
func completeVersion(raw string) string {
	line, rest, _ := strings.Cut(raw, "\r\n")
	if !strings.Contains(line, " HTTP/") {
		line += " HTTP/1.1"
	}
	return line + "\r\n" + rest
}

func TestRequestRefused(t *testing.T) {
	line := func(l string) string { return l + "\r\nHost: api.example.com\r\n\r\n" }
	host := func(h string) string { return "GET / HTTP/1.1\r\nHost: " + h + "\r\n\r\n" }
	with := func(f ...string) string { return get("POST / HTTP/1.1", f...) }
	for _, c := range []struct {
		detail string
		raws   []string
	}{
		{"malformed method", []string{line(" / HTTP/1.1"), line("G\tET / HTTP/1.1"), line("G\x80T / HTTP/1.1"), line("\r\n\r\nGET / HTTP/1.1"), line("G:T / HTTP/1.1")}},
		{"malformed request target", []string{line("GET  / HTTP/1.1"), line("GET /\tHTTP/1.1"), line("GET /\x7f HTTP/1.1"),
			line("GET /\xc3\xa9 HTTP/1.1"), line(`GET /\ HTTP/1.1`), line(`GET /"a" HTTP/1.1`), line("GET /<a> HTTP/1.1"),
			line("GET /a|b HTTP/1.1"), line("GET /{a} HTTP/1.1"), line("GET /a^ HTTP/1.1"), line("GET /` HTTP/1.1"),
			line("GET /a#b HTTP/1.1"), line("GET /?a#b HTTP/1.1"), line("GET /[a] HTTP/1.1"), line("GET /?\xc3\xa9 HTTP/1.1"), line("GET /?a\x7f HTTP/1.1"), line("GET /\x00 HTTP/1.1"),
			line("GET /"), line("GET http://api.example.com/# HTTP/1.1"), line("GET http:///x HTTP/1.1"),
			line("GET http://a%2eb/ HTTP/1.1"), line("GET http://api.example.com:99999/ HTTP/1.1"),
			line("GET http://api.example.com/a%4 HTTP/1.1"), line("GET http://api.example.com/a% HTTP/1.1")}},
		{"malformed percent-encoding in request target", []string{line("GET /% HTTP/1.1"), line("GET /%4 HTTP/1.1"),
			line("GET /%4g HTTP/1.1"), line("GET /?a=%%41 HTTP/1.1"), line("GET http://api.example.com/%zz HTTP/1.1")}},
		{"request target has no scheme that is http or https", []string{line("GET x HTTP/1.1"), line("GET ?q HTTP/1.1"),
			line("GET ftp://api.example.com/ HTTP/1.1"), line("GET http:/x HTTP/1.1"), line("GET http:// HTTP/1.1"),
			line("GET api.example.com:443 HTTP/1.1"), line("GET *a HTTP/1.1"), line("GET ://api.example.com/ HTTP/1.1")}},
		{"userinfo in request target", []string{line("GET http://u:p@api.example.com/ HTTP/1.1"), line("GET https://@api.example.com HTTP/1.1")}},
		{"asterisk target without OPTIONS", []string{line("GET * HTTP/1.1"), line("options * HTTP/1.1")}},
		{"CONNECT target is not host:port", []string{line("CONNECT api.example.com HTTP/1.1"), line("CONNECT api.example.com: HTTP/1.1"), line("CONNECT http://a/ HTTP/1.1")}},
		{"CONNECT with content", []string{"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 1\r\n\r\nx"}},
		{"request target and Host differ", []string{line("GET http://api.example.com:80/ HTTP/1.1"), line("CONNECT evil:443 HTTP/1.1")}},
		{"malformed version", []string{line("GET / HTTP/1"), line("GET / HTTP/1.10"), line("GET / HTTP/1.1 "), line("GET / HTTP /1.1"),
			line("GET / Http/1.1"), line("GET / HTTP/1,1"), line("GET / HTTP/+1.1"), line("GET / HTTP/11"), line("GET / HTTPS/1.1"), line("GET /  HTTP/1.1"), line("GET / ")}},
		{"unsupported version", []string{line("GET / HTTP/2.0"), line("GET / HTTP/1.2"), line("GET / HTTP/0.9"), line("GET / HTTP/3.1")}},
		{"bare CR", []string{line("GET / HTTP/1.1\rX"), with("A: b\rc"), with("A: b\r\r"), "GET / HTTP/1.1\r\nHost: a\r\n\rX"}},
		{"bare LF", []string{"\nGET / HTTP/1.1\r\n", "GET / HTTP/1.1\nHost: a\n\n", with("A: b\nC: d"), "GET / HTTP/1.1\r\nHost: a\r\n\n", with("A\nB: c")}},
		{"line begins with whitespace", []string{"GET / HTTP/1.1\r\n Host: a\r\n\r\n", with("A: b", "\tc"), with(" A: b"), with("A: b", " ")}},
		{"whitespace before colon", []string{with("A : b"), with("A\t: b"), with("A B: c"), with("A ")}},
		{"malformed field name", []string{with(": b"), with("A"), with("A\x00: b"), with("A\x80: b"), with("A@: b"), with("A\x7f: b"), with("\x0bA: b"), with("[A]: b"), with("A\r: b")}},
		{"control byte in field value", []string{with("A: \x00"), with("A: b\x01c"), with("A: \x7f"), with("A: \x0b"), with("A: 12345678\x1f12345678"), with("A: \t\t\t\t\t\t\t\t\x0c")}},
		{"two Content-Length fields", []string{with("Content-Length: 5", "content-length: 5"), with("Content-Length: 0", "Content-Length: 0")}},
		{"malformed Content-Length", []string{with("Content-Length:"), with("Content-Length: +5"), with("Content-Length: 05"), with("Content-Length: 00"), with("Content-Length: 5,5"),
			with("Content-Length: 9223372036854775808"), with("Content-Length: 5.0"), with("Content-Length: 1_0"), with("Content-Length: -1")}},
		{"two Transfer-Encoding fields", []string{with("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), with("Transfer-Encoding:", "Transfer-Encoding: chunked")}},
		{"malformed Transfer-Encoding", []string{with("Transfer-Encoding:"), with("Transfer-Encoding: chunked,"), with("Transfer-Encoding: chunked, chunked"),
			with("Transfer-Encoding: gzip, chunked"), with("Transfer-Encoding: chunked ;x"), with("Transfer-Encoding: 'chunked' x"), with("Transfer-Encoding: chunked\xa0")}},
		{"unknown transfer coding", []string{with("Transfer-Encoding: gzip"), with("Transfer-Encoding: identity"), with("Transfer-Encoding: xchunked")}},
		{"Content-Length and Transfer-Encoding", []string{with("Content-Length: 5", "Transfer-Encoding: chunked"), with("Transfer-Encoding: identity", "Content-Length: 5")}},
		{"Transfer-Encoding in HTTP/1.0", []string{get("POST / HTTP/1.0", "Transfer-Encoding: chunked")}},
		{"no Host", []string{"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", "GET http://a/ HTTP/1.1\r\nX: y\r\n\r\n"}},
		{"two Host fields", []string{with("Host: api.example.com"), with("host:")}},
		{"malformed Host", []string{host(""), host(":80"), host("a:b"), host("a:65536"), host("a:-1"), host("a:80:80"), host("a,b"), host("a b"), host("a/"),
			host("u@a"), host("a%2eb"), host("[::1"), host("::1"), host("[::1]x"), host("[1.2.3.4]"), host("[:1]"), host("[1::2::3]"), host("[1:2:3:4:5:6:7]"),
			host("[1:2:3:4:5:6:7:8:9]"), host("[12345::]"), host("[::1%25lo]"), host("[v1.x]"), host("[]"), host("[1:2:3:4:5:6:7:8::]"), host("[::01.2.3.4]"), host("[::1.2.3]"),
			host("[1:]"), host("[:::]"), host("a..b"), host("."), host(".a"), host("*.a"), host("a;b"), host("http://a"), host("a\tb"), host("\xe2\x98\x83.a"), host(strings.Repeat("a", 255))}},
		{"malformed Connection", []string{with("Connection: a b"), with("Connection: close;q=1"), with(`Connection: "close"`)}},
		{"Connection names a field that frames or routes", []string{with("Connection: Host"), with("Connection: close, content-length"), with("Connection: Transfer-Encoding")}},
		{"too many Connection options", []string{with("Connection: " + strings.Repeat("a,", 33))}},
		{"unknown expectation", []string{with("Expect: x"), with("Expect: 100-continue, x"), with("Expect: y 100-continue"), with("Expect:"), with("Expect: 100-continue", "Expect: 100-continue")}},
		{"two Upgrade fields", []string{with("Upgrade: a", "Upgrade: b")}},
		{"head too large", []string{with("A: " + strings.Repeat("b", http1.MaxHead)), with(strings.Repeat("A: b\r\n", http1.MaxFields) + "A: b"), line("GET /" + strings.Repeat("b", 1<<20) + " HTTP/1.1")}},
	} {
		for _, raw := range c.raws {
			var r http1.Request
			n, err := r.Parse([]byte(raw))
			var e *http1.Error
			if !errors.As(err, &e) || e.Detail != c.detail || n != 0 {
				t.Errorf("%.120q: %d, %v, want %s", raw, n, err, c.detail)
			}
			if e != nil && (e.Status < 400 || e.Status > 505) {
				t.Errorf("status %d", e.Status)
			}
		}
	}
}

// A head is refused or accepted, wherever the bytes were cut.
func TestRequestLimits(t *testing.T) {
	head := get("GET / HTTP/1.1", "A: b")
	largest := strings.Replace(head, "b", strings.Repeat("b", http1.MaxHead-len(head)+1), 1)
	var r http1.Request
	if n, err := r.Parse([]byte(largest + "more")); n != http1.MaxHead || err != nil {
		t.Errorf("largest head: %d, %v", n, err)
	}
	if n, err := r.Parse([]byte(largest[:http1.MaxHead-1])); n != 0 || err != nil {
		t.Errorf("largest head without its last byte: %d, %v", n, err)
	}
	larger := strings.Replace(largest, "bb", "bbb", 1)
	for _, cut := range []int{http1.MaxHead, http1.MaxHead + 1} {
		if _, err := r.Parse([]byte(larger[:cut])); !errors.Is(err, http1.ErrHeadTooLarge) {
			t.Errorf("%d bytes of a head that is too large: %v", cut, err)
		}
	}
	fields := "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A: b\r\n", http1.MaxFields-1) + "\r\n"
	if n, err := r.Parse([]byte(fields)); n != len(fields) || len(r.Fields) != http1.MaxFields {
		t.Errorf("most fields: %d, %v, %d fields", n, err, len(r.Fields))
	}
}

func TestRequestKeepAlive(t *testing.T) {
	for raw, want := range map[string]bool{
		get("GET / HTTP/1.1"):                                        true,
		get("GET / HTTP/1.1", "Connection: Close"):                   false,
		get("GET / HTTP/1.1", "Connection: keep-alive, close"):       false,
		get("GET / HTTP/1.1", "Connection: x", "Connection: close"):  false,
		get("GET / HTTP/1.1", "Connection: closed"):                  true,
		get("GET / HTTP/1.0"):                                        false,
		get("GET / HTTP/1.0", "Connection: Keep-Alive"):              true,
		get("GET / HTTP/1.0", "Connection: keep-alive, close"):       false,
		get("GET / HTTP/1.1", "Proxy-Connection: close"):             true,
		get("GET / HTTP/1.1", "Connection: "+strings.Repeat(",", 9)): true,
	} {
		var r http1.Request
		if _, err := r.Parse([]byte(raw)); err != nil || r.KeepAlive != want {
			t.Errorf("%q: %v, %v", raw, r.KeepAlive, err)
		}
	}
}

func TestCheckTarget(t *testing.T) {
	for target, want := range map[string]string{
		"/": "", "/a?b%20": "", "/?a[b]={c}": "", "/?a{b=\"c\"}<1>2": "", "*": "OPTIONS", "a:443": "CONNECT",
	} {
		method := "GET"
		if want != "" {
			method = want
			if http1.CheckTarget(target, "GET") == nil {
				t.Errorf("%q is good for GET", target)
			}
		}
		if err := http1.CheckTarget(target, method); err != nil {
			t.Errorf("%s %q: %v", method, target, err)
		}
	}
	for _, target := range []string{"", "a", "/[a]", "/\"", "/<", "/>", "/?\x7f", "/?\x85", "/?\xa0", "/a b", "/a#", "/%2", "/%", "/%zz", "http://a/", "/\x00", "/a\r\nX: y", "/é"} {
		if http1.CheckTarget(target, "GET") == nil {
			t.Errorf("%q is good", target)
		}
	}
}
