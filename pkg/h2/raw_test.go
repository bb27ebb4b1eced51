package h2_test

import (
	"io"
	"net"
	"testing"

	"github.com/outwarden/outwarden/pkg/h2"
	"golang.org/x/net/http2"
)

// TestMalformedRequests: the stream is reset, no handler sees it, somebody is
// told, and the connection lives on.
func TestMalformedRequests(t *testing.T) {
	for name, fields := range map[string][]string{
		"no method":               {":scheme", "https", ":authority", "a", ":path", "/"},
		"no scheme":               {":method", "GET", ":authority", "a", ":path", "/"},
		"no path":                 {":method", "GET", ":scheme", "https", ":authority", "a"},
		"no authority":            {":method", "GET", ":scheme", "https", ":path", "/"},
		"method twice":            {":method", "GET", ":method", "GET", ":scheme", "https", ":authority", "a", ":path", "/"},
		"path twice":              get(":path", "/"),
		"unknown pseudo":          get(":protocol", "websocket"),
		"status in a request":     get(":status", "200"),
		"pseudo behind a field":   {":method", "GET", ":scheme", "https", "a", "b", ":authority", "a", ":path", "/"},
		"CR in a value":           get("x", "a\rb"),
		"LF in a value":           get("x", "a\nb: c"),
		"NUL in a value":          get("x", "a\x00b"),
		"space before a length":   get("content-length", " 0"),
		"space behind te":         get("te", "trailers "),
		"space before the host":   get("host", " api.example"),
		"space in the authority":  {":method", "GET", ":scheme", "https", ":authority", "a ", ":path", "/"},
		"space before the path":   {":method", "GET", ":scheme", "https", ":authority", "a", ":path", " /"},
		"space behind the scheme": {":method", "GET", ":scheme", "https\t", ":authority", "a", ":path", "/"},
		"LF in a name":            get("x\ny", "a"),
		"colon in a name":         get("x:y", "a"),
		"space in a name":         get("x y", "a"),
		"no name":                 get("", "a"),
		"upper case":              get("X-Y", "a"),
		"LF in the method":        {":method", "GET\n", ":scheme", "https", ":authority", "a", ":path", "/"},
		"space in the method":     {":method", "GET /x", ":scheme", "https", ":authority", "a", ":path", "/"},
		"LF in the path":          {":method", "GET", ":scheme", "https", ":authority", "a", ":path", "/ HTTP/1.1\r\nx: y"},
		"space in the path":       {":method", "GET", ":scheme", "https", ":authority", "a", ":path", "/a b"},
		"absolute path":           {":method", "GET", ":scheme", "https", ":authority", "a", ":path", "http://b/"},
		"empty path":              {":method", "GET", ":scheme", "https", ":authority", "a", ":path", ""},
		"asterisk with GET":       {":method", "GET", ":scheme", "https", ":authority", "a", ":path", "*"},
		"scheme":                  {":method", "GET", ":scheme", "file", ":authority", "a", ":path", "/"},
		"LF in the authority":     {":method", "GET", ":scheme", "https", ":authority", "a\nb", ":path", "/"},
		"user in the authority":   {":method", "GET", ":scheme", "https", ":authority", "u@a", ":path", "/"},
		"path in the authority":   {":method", "GET", ":scheme", "https", ":authority", "a/b", ":path", "/"},
		"empty authority":         {":method", "GET", ":scheme", "https", ":authority", "", ":path", "/"},
		"host differs":            get("host", "b.example"),
		"host twice":              get("host", "api.example", "host", "api.example"),
		"connection":              get("connection", "close"),
		"transfer-encoding":       get("transfer-encoding", "chunked"),
		"upgrade":                 get("upgrade", "h2c"),
		"keep-alive":              get("keep-alive", "5"),
		"proxy-connection":        get("proxy-connection", "keep-alive"),
		"te":                      get("te", "gzip"),
		"content-length letters":  get("content-length", "1a"),
		"content-length sign":     get("content-length", "+1"),
		"content-length list":     get("content-length", "1, 1"),
		"content-length twice":    get("content-length", "0", "content-length", "0"),
		"content-length too big":  get("content-length", "99999999999999999999"),
		"content-length, no DATA": get("content-length", "5"),
		"CONNECT with a path":     {":method", "CONNECT", ":authority", "a:443", ":path", "/", ":scheme", "https"},
		"CONNECT without a name":  {":method", "CONNECT"},
	} {
		t.Run(name, func(t *testing.T) {
			b := &books{answer: true}
			p := startServer(t, h2.Options{}, b)
			p.head(1, true, fields...)
			p.sees("RST 1 PROTOCOL_ERROR")
			if b.has("head 1") || !b.has("refused 1") {
				t.Errorf("the handler was told %q", b.events)
			}
			p.head(3, true, get()...)
			p.sees("HEAD 3 204")
		})
	}
}

// TestLegalRequests: what RFC 9113 allows and few clients send reaches the handler.
func TestLegalRequests(t *testing.T) {
	for name, fields := range map[string][]string{
		"te in another case":     get("te", "Trailers"),
		"scheme in another case": {":method", "GET", ":scheme", "HTTPS", ":authority", "a", ":path", "/"},
		"host in another case":   get("host", "API.example"),
		"host alone":             {":method", "GET", ":scheme", "https", ":path", "/", "host", "a"},
		"another order":          {":path", "/", ":authority", "a", ":scheme", "https", ":method", "GET"},
		"asterisk":               {":method", "OPTIONS", ":scheme", "https", ":authority", "a", ":path", "*"},
		"any method":             {":method", "m-search", ":scheme", "https", ":authority", "a", ":path", "/"},
		"cookie crumbs":          get("cookie", "a=b", "cookie", "c=d"),
		"empty value":            get("x", ""),
		"obs-text and a tab":     get("x", "a\t\xe9"),
		"every kind of token":    get("!#$%&'*+-.^_`|~09az", "x"),
		"length of nothing":      get("content-length", "0"),
		"space around values":    get("x", " \ta b\t ", "y", " "),
	} {
		t.Run(name, func(t *testing.T) {
			b := &books{answer: true}
			p := startServer(t, h2.Options{}, b)
			p.head(1, true, fields...)
			p.sees("HEAD 1 204")
			if !b.has("head 1") {
				t.Errorf("the handler was told %q", b.events)
			}
		})
	}
}

// TestBadTarget: what HTTP/1 would read in two ways is answered.
func TestBadTarget(t *testing.T) {
	for _, path := range []string{"/%", "/%zz", "/a\"b", "/a#b", "/<"} {
		b := &books{answer: true}
		p := startServer(t, h2.Options{}, b)
		p.head(1, true, ":method", "GET", ":scheme", "https", ":authority", "a", ":path", path)
		p.sees("HEAD 1 400")
		if b.has("head 1") {
			t.Errorf("%q reached the handler", path)
		}
	}
}

// TestLengthLies: a message that does not keep its content-length never ends
// well.
func TestLengthLies(t *testing.T) {
	for name, send := range map[string]func(p *peer){
		"less":              func(p *peer) { _ = p.f.WriteData(1, true, []byte("1234")) },
		"less in two":       func(p *peer) { _ = p.f.WriteData(1, false, []byte("1")); _ = p.f.WriteData(1, true, nil) },
		"more":              func(p *peer) { _ = p.f.WriteData(1, true, []byte("123456")) },
		"more, padded":      func(p *peer) { _ = p.f.WriteDataPadded(1, true, []byte("123456"), make([]byte, 3)) },
		"less and trailers": func(p *peer) { _ = p.f.WriteData(1, false, []byte("1")); p.head(1, true, "x", "y") },
	} {
		t.Run(name, func(t *testing.T) {
			b := &books{}
			p := startServer(t, h2.Options{}, b)
			p.head(1, false, get("content-length", "5")...)
			send(p)
			p.sees("RST 1 PROTOCOL_ERROR")
			if b.has("end") || !b.has("closed 1 ") {
				t.Errorf("the handler was told %q", b.events)
			}
		})
	}
}

// TestConnectionErrors: each ends the connection with GOAWAY.
func TestConnectionErrors(t *testing.T) {
	for name, c := range map[string]struct {
		send func(p *peer)
		want string
	}{
		"DATA on an idle stream":     {func(p *peer) { _ = p.f.WriteData(5, true, nil) }, "PROTOCOL_ERROR"},
		"DATA on stream 0":           {func(p *peer) { _ = p.f.WriteData(0, true, nil) }, "PROTOCOL_ERROR"},
		"HEADERS on an even stream":  {func(p *peer) { p.head(2, true, get()...) }, "PROTOCOL_ERROR"},
		"a stream number that falls": {func(p *peer) { p.head(5, true, get()...); p.head(3, true, get()...) }, "STREAM_CLOSED"},
		"a frame too large":          {func(p *peer) { _ = p.f.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 16385)) }, "FRAME_SIZE_ERROR"},
		"CONTINUATION alone":         {func(p *peer) { _ = p.f.WriteContinuation(1, true, nil) }, "PROTOCOL_ERROR"},
		"PING of 7 bytes":            {func(p *peer) { _ = p.f.WriteRawFrame(http2.FramePing, 0, 0, make([]byte, 7)) }, "FRAME_SIZE_ERROR"},
		"PING on a stream":           {func(p *peer) { _ = p.f.WriteRawFrame(http2.FramePing, 0, 1, make([]byte, 8)) }, "PROTOCOL_ERROR"},
		"SETTINGS of 5 bytes":        {func(p *peer) { _ = p.f.WriteRawFrame(http2.FrameSettings, 0, 0, make([]byte, 5)) }, "FRAME_SIZE_ERROR"},
		"ENABLE_PUSH 2":              {func(p *peer) { _ = p.f.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 2}) }, "PROTOCOL_ERROR"},
		"window of 2^31":             {func(p *peer) { _ = p.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}) }, "FLOW_CONTROL_ERROR"},
		"WINDOW_UPDATE beyond":       {func(p *peer) { _ = p.f.WriteWindowUpdate(0, 1<<31-1) }, "FLOW_CONTROL_ERROR"},
		"WINDOW_UPDATE of 0":         {func(p *peer) { _ = p.f.WriteWindowUpdate(0, 0) }, "PROTOCOL_ERROR"},
		"WINDOW_UPDATE on idle":      {func(p *peer) { _ = p.f.WriteWindowUpdate(7, 1) }, "PROTOCOL_ERROR"},
		"RST_STREAM on idle":         {func(p *peer) { _ = p.f.WriteRSTStream(7, 0) }, "PROTOCOL_ERROR"},
		"PUSH_PROMISE":               {func(p *peer) { _ = p.f.WriteRawFrame(http2.FramePushPromise, 4, 1, make([]byte, 4)) }, "PROTOCOL_ERROR"},
		"GOAWAY of 7 bytes":          {func(p *peer) { _ = p.f.WriteRawFrame(http2.FrameGoAway, 0, 0, make([]byte, 7)) }, "FRAME_SIZE_ERROR"},
		"a block that is no HPACK":   {func(p *peer) { _ = p.f.WriteRawFrame(http2.FrameHeaders, 5, 1, []byte{0xff, 0xff, 0xff, 0xff, 0xff}) }, "COMPRESSION_ERROR"},
		"padding beyond the payload": {func(p *peer) { _ = p.f.WriteRawFrame(http2.FrameData, 8, 1, []byte{9, 0}) }, "PROTOCOL_ERROR"},
		"another frame within HEADERS": {func(p *peer) {
			_ = p.f.WriteRawFrame(http2.FrameHeaders, 1, 1, p.encode(get()...))
			_ = p.f.WritePing(false, [8]byte{})
		}, "PROTOCOL_ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startServer(t, h2.Options{}, &books{})
			c.send(p)
			p.sees("GOAWAY " + c.want)
			<-p.done
		})
	}
}

// TestConnectionWindow: nothing is consumed, so the connection's window ends the
// connection although the stream's would do.
func TestConnectionWindow(t *testing.T) {
	p, _ := startRaw(t, false, func(c net.Conn) *h2.Conn {
		return h2.NewServer(c, h2.Options{StreamWindow: 1 << 20, ConnWindow: 65535}, func() h2.Handler { return &hoarder{} })
	})
	_, _ = io.WriteString(p.c, http2.ClientPreface)
	_ = p.f.WriteSettings()
	p.head(1, false, get()...)
	for range 5 {
		_ = p.f.WriteData(1, false, make([]byte, 16<<10))
	}
	p.sees("GOAWAY FLOW_CONTROL_ERROR")
}

// TestStreamErrors: each ends its stream alone.
func TestStreamErrors(t *testing.T) {
	open := func(p *peer) { p.head(1, false, get()...) }
	for name, c := range map[string]struct {
		send func(p *peer)
		want string
	}{
		"WINDOW_UPDATE of 0":     {func(p *peer) { open(p); _ = p.f.WriteWindowUpdate(1, 0) }, "PROTOCOL_ERROR"},
		"WINDOW_UPDATE beyond":   {func(p *peer) { open(p); _ = p.f.WriteWindowUpdate(1, 1<<31-1) }, "FLOW_CONTROL_ERROR"},
		"DATA behind the end":    {func(p *peer) { p.head(1, true, get()...); _ = p.f.WriteData(1, true, nil) }, "STREAM_CLOSED"},
		"HEADERS behind the end": {func(p *peer) { p.head(1, true, get()...); p.head(1, true, get()...) }, "STREAM_CLOSED"},
		"trailers without end":   {func(p *peer) { open(p); p.head(1, false, "x", "y") }, "PROTOCOL_ERROR"},
		"pseudo in trailers":     {func(p *peer) { open(p); p.head(1, true, ":path", "/y") }, "PROTOCOL_ERROR"},
		"LF in trailers":         {func(p *peer) { open(p); p.head(1, true, "x", "a\nb") }, "PROTOCOL_ERROR"},
		"depends on itself":      {func(p *peer) { open(p); _ = p.f.WritePriority(1, http2.PriorityParam{StreamDep: 1}) }, "PROTOCOL_ERROR"},
		"PRIORITY of 4 bytes":    {func(p *peer) { open(p); _ = p.f.WriteRawFrame(http2.FramePriority, 0, 1, make([]byte, 4)) }, "FRAME_SIZE_ERROR"},
		"more than its window": {func(p *peer) {
			open(p)
			for range 5 {
				_ = p.f.WriteData(1, false, make([]byte, 16<<10))
			}
		}, "FLOW_CONTROL_ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			b := &hoarder{}
			p, _ := startRaw(t, false, func(c net.Conn) *h2.Conn {
				return h2.NewServer(c, h2.Options{StreamWindow: 70000}, func() h2.Handler { return b })
			})
			_, _ = io.WriteString(p.c, http2.ClientPreface)
			_ = p.f.WriteSettings()
			c.send(p)
			p.sees("RST 1 " + c.want)
			_ = p.f.WritePing(false, [8]byte{})
			p.sees("PING true")
			p.sawNot("GOAWAY")
		})
	}
}

// TestTooManyStreams: one more than announced is refused, and no handler sees it.
func TestTooManyStreams(t *testing.T) {
	b := &books{}
	p := startServer(t, h2.Options{Streams: 3}, b)
	for id := uint32(1); id <= 9; id += 2 {
		p.head(id, false, get()...)
	}
	p.sees("RST 7 REFUSED_STREAM")
	p.sees("RST 9 REFUSED_STREAM")
	if b.has("head 7") || b.has("head 9") || !b.has("head 5") {
		t.Errorf("the handler was told %q", b.events)
	}
}
