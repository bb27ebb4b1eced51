package proxy_test

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outwarden/outwarden/pkg/audit"
)

// TestRawHTTP2 is C4: a head that no honest client sends, or that HTTP/1 would
// read in two ways, is refused and recorded, and nothing of it reaches the
// upstream. The connection goes on where RFC 9113 lets it.
func TestRawHTTP2(t *testing.T) {
	get := []string{":method", "GET", ":scheme", "https", ":authority", host, ":path", "/v1/x"}
	but := func(name, value string) []string {
		out := slices.Clone(get)
		out[slices.Index(out, name)+1] = value
		return out
	}
	without := func(name string) []string {
		i := slices.Index(get, name)
		return slices.Concat(get[:i], get[i+2:])
	}
	with := func(more ...string) []string { return append(slices.Clone(get), more...) }
	cases := map[string][]string{
		// pseudo-fields: RFC 9113 section 8.3
		"no method":             without(":method"),
		"no scheme":             without(":scheme"),
		"no path":               without(":path"),
		"no authority":          without(":authority"),
		"two methods":           with(":method", "GET"),
		"two schemes":           slices.Concat(get[:4], []string{":scheme", "https"}, get[4:]),
		"two authorities":       slices.Concat([]string{":authority", host}, get),
		"two paths":             slices.Concat(get, []string{":path", "/v1/y"}),
		"path behind a field":   slices.Concat(without(":path"), []string{"x", "y", ":path", "/v1/x"}),
		"status":                slices.Concat([]string{":status", "200"}, get),
		"unknown pseudo-field":  slices.Concat([]string{":foo", "bar"}, get),
		"extended CONNECT":      slices.Concat([]string{":protocol", "websocket"}, but(":method", "CONNECT")),
		"upper case pseudo":     slices.Concat([]string{":Method", "GET"}, without(":method")),
		"CONNECT":               {":method", "CONNECT", ":authority", host + ":443"},
		"CONNECT with path":     but(":method", "CONNECT"),
		"empty method":          but(":method", ""),
		"method with space":     but(":method", "GET /"),
		"method with CR LF":     but(":method", "GET / HTTP/1.1\r\nx: "),
		"empty scheme":          but(":scheme", ""),
		"other scheme":          but(":scheme", "ftp"),
		"scheme with CR LF":     but(":scheme", "https\r\nx: y"),
		"scheme as a URL":       but(":scheme", "https://www.example.com/?"),
		"empty authority":       but(":authority", ""),
		"userinfo":              but(":authority", "x@"+host),
		"authority with path":   but(":authority", host+"/v1"),
		"authority with query":  but(":authority", host+"?x"),
		"authority with hash":   but(":authority", host+"#x"),
		"authority with space":  but(":authority", host+" x"),
		"authority with CR LF":  but(":authority", host+"\r\nx: y"),
		"authority with NUL":    but(":authority", host+"\x00"),
		"list of authorities":   but(":authority", host+",www.example.com"),
		"another authority":     but(":authority", "www.example.com"),
		"another port":          but(":authority", host+":1"),
		"bad port":              but(":authority", host+":x"),
		"no slash":              but(":path", "v1/x"),
		"empty path":            but(":path", ""),
		"asterisk":              but(":path", "*"),
		"absolute path":         but(":path", "https://www.example.com/v1/x"),
		"space in path":         but(":path", "/v1/x HTTP/1.1"),
		"tab in path":           but(":path", "/v1/\tx"),
		"CR LF in path":         but(":path", "/v1/x HTTP/1.1\r\nHost: www.example.com\r\n\r\n"),
		"LF in path":            but(":path", "/v1/\nx"),
		"NUL in path":           but(":path", "/v1/\x00x"),
		"fragment":              but(":path", "/v1/x#y"),
		"bad percent":           but(":path", "/v1/%zz"),
		"non-ASCII path":        but(":path", "/v1/é"),
		"backslash":             but(":path", `/v1\..\x`),
		"other host field":      with("host", "www.example.com"),
		"two host fields":       with("host", host, "host", host),
		"host field alone":      append(without(":authority"), "host", "www.example.com"),
		"connection":            with("connection", "close"),
		"proxy-connection":      with("proxy-connection", "keep-alive"),
		"keep-alive":            with("keep-alive", "timeout=5"),
		"transfer-encoding":     with("transfer-encoding", "chunked"),
		"upgrade":               with("upgrade", "websocket"),
		"te gzip":               with("te", "gzip"),
		"te list":               with("te", "trailers, deflate"),
		"upper case name":       with("X-Big", "y"),
		"one upper case letter": with("content-lengtH", "0"),
		"empty name":            with("", "y"),
		"colon in name":         with("x:y", "z"),
		"space in name":         with("x y", "z"),
		"CR LF in name":         with("x\r\ny", "z"),
		"NUL in name":           with("x\x00", "z"),
		"non-ASCII name":        with("é", "z"),
		"CR LF in value":        with("x", "a\r\nauthorization: b"),
		"LF in value":           with("x", "a\nb"),
		"CR in value":           with("x", "a\rb"),
		"NUL in value":          with("x", "a\x00b"),
		"DEL in value":          with("x", "a\x7fb"),
		"content-length twice":  with("content-length", "0", "content-length", "0"),
		"content-length list":   with("content-length", "0, 0"),
		"content-length sign":   with("content-length", "+0"),
		"content-length minus":  with("content-length", "-1"),
		"content-length hex":    with("content-length", "0x0"),
		"content-length space":  with("content-length", "0 "),
		"content-length empty":  with("content-length", ""),
		"content-length huge":   with("content-length", "99999999999999999999"),
		"length but no content": with("content-length", "5"),
		"trailer names a field": with("trailer", "authorization"),
		"trailer in a list":     with("trailer", "x, Authorization"),
		"600 fields":            with(slices.Repeat([]string{"x", "y"}, 600)...),
		"70 KiB of fields":      with("x", strings.Repeat("a", 70<<10)),
		"1 MiB of fields":       with("x", strings.Repeat("a", 1<<20)),
	}
	var reached atomic.Int32
	w, o := overHTTP2(t, func(_ http.ResponseWriter, r *http.Request) {
		if reached.Add(1); r.URL.Path != "/next" {
			t.Errorf("reached the origin: %v %v %v", r.Method, r.RequestURI, r.Header)
		}
	})
	for name, fields := range cases {
		t.Run(name, func(t *testing.T) {
			w.records.forget()
			before := reached.Load()
			p := w.peer(o)
			p.t = t
			_ = p.head(1, true, fields...)
			awaitEnd(t, p)
			if len(w.records.of(audit.KindCredential)) > 0 {
				t.Errorf("an intent")
			}
			gone := p.saw("GOAWAY")
			if !gone {
				next := slices.Clone(get)
				next[7] = "/next"
				_ = p.head(3, true, next...)
				p.sees("HEAD 3 200")
			}
			_ = p.c.Close()
			w.quiet()
			records := append(w.records.of(audit.KindRequest), w.records.of(audit.KindConnection)...)
			want := map[bool]int{true: 1, false: 2}[gone]
			if len(records) != want || !refusedHead(records[0].Reason) {
				t.Errorf("records %+v", records)
			}
			if n := int(reached.Load() - before); n != want-1 {
				t.Errorf("%d requests at the origin", n)
			}
		})
	}
	if len(cases) < 80 {
		t.Errorf("%d cases", len(cases))
	}
}

// awaitEnd waits for the end of stream 1, which is no success.
func awaitEnd(t *testing.T, p *peer) {
	t.Helper()
	p.seesOne("HEAD 1 4", "RST 1 PROTOCOL_ERROR", "GOAWAY ")
	if p.saw("HEAD 1 2") {
		t.Error("answered as if nothing was wrong")
	}
}

func refusedHead(reason string) bool {
	switch reason {
	case "bad_request", "header_too_large", "authority_mismatch", "method_forbids":
		return true
	}
	return false
}

// TestBrokenFrames is the rest of C4: what ends the connection leaves nothing
// upstream either, and the requests beside it are told as cut off.
func TestBrokenFrames(t *testing.T) {
	for name, send := range map[string]func(*peer) error{
		"HPACK index 0":         func(p *peer) error { return p.block(3, true, []byte{0x80}) },
		"HPACK index too large": func(p *peer) error { return p.block(3, true, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}) },
		"Huffman with EOS": func(p *peer) error {
			return p.block(3, true, []byte{0x40, 0x84, 0xff, 0xff, 0xff, 0xff, 0x01, 'y'})
		},
		"table larger than allowed": func(p *peer) error {
			return p.block(3, true, hpack.AppendHuffmanString([]byte{0x3f, 0xff, 0xff, 0x03}, ""))
		},
		"even stream":            func(p *peer) error { return p.head(2, true, post()...) },
		"stream 0":               func(p *peer) error { return p.head(0, true, post()...) },
		"older stream":           func(p *peer) error { _ = p.head(9, false, post()...); return p.head(5, true, post()...) },
		"DATA on an idle stream": func(p *peer) error { return p.f.WriteData(7, true, []byte("x")) },
		"frame inside a head": func(p *peer) error {
			_ = p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: encoded(post()...)})
			return p.f.WritePing(false, [8]byte{})
		},
		"frame too large": func(p *peer) error { return p.f.WriteData(1, false, make([]byte, 17<<10)) },
		"padding too large": func(p *peer) error {
			return p.f.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersPadded|http2.FlagHeadersEndHeaders, 3, []byte{200, 1})
		},
		"PUSH_PROMISE": func(p *peer) error { return p.f.WriteRawFrame(http2.FramePushPromise, 0x4, 1, make([]byte, 8)) },
	} {
		t.Run(name, func(t *testing.T) {
			w, o := overHTTP2(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
			p := w.peer(o)
			_ = p.head(1, false, post()...)
			w.awaitKind(audit.KindCredential, 1)
			_ = send(p)
			p.sees("GOAWAY ")
			<-p.done
			w.quiet()
			for _, r := range w.records.of(audit.KindRequest) {
				if r.Reason != "bad_request" || r.Status != 0 {
					t.Errorf("record %+v", r)
				}
			}
			if r := w.connection(); r.Reason != "bad_request" {
				t.Errorf("record %+v", r)
			}
		})
	}
}
