package h2_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/h2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer is the other end of a Conn, frame by frame.
type peer struct {
	t     testing.TB
	c     net.Conn
	f     *http2.Framer
	block bytes.Buffer
	enc   *hpack.Encoder
	seen  []string      // what the Conn sent, said shortly
	done  chan struct{} // the Conn has closed
	mu    sync.Mutex
}

func newPeer(t testing.TB, c net.Conn, ofClient bool) *peer {
	p := &peer{t: t, c: c, f: http2.NewFramer(c, c), done: make(chan struct{})}
	p.f.AllowIllegalWrites = true
	p.enc = hpack.NewEncoder(&p.block)
	go p.listen(ofClient)
	return p
}

// listen notes every frame until the Conn closes.
func (p *peer) listen(ofClient bool) {
	defer close(p.done)
	if ofClient {
		_, _ = io.ReadFull(p.c, make([]byte, len(http2.ClientPreface)))
	}
	f := http2.NewFramer(io.Discard, p.c)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.seen = append(p.seen, shortly(frame)...)
		p.mu.Unlock()
	}
}

func shortly(frame http2.Frame) []string {
	id := frame.Header().StreamID
	switch f := frame.(type) {
	case *http2.GoAwayFrame:
		return []string{fmt.Sprintf("GOAWAY %v", f.ErrCode)}
	case *http2.RSTStreamFrame:
		return []string{fmt.Sprintf("RST %d %v", id, f.ErrCode)}
	case *http2.MetaHeadersFrame:
		return append([]string{fmt.Sprintf("HEAD %d %s", id, f.PseudoValue("status"))}, ended(id, f.StreamEnded())...)
	case *http2.DataFrame:
		return append([]string{fmt.Sprintf("DATA %d %d", id, len(f.Data()))}, ended(id, f.StreamEnded())...)
	case *http2.PingFrame:
		return []string{fmt.Sprintf("PING %v", f.IsAck())}
	case *http2.WindowUpdateFrame:
		return []string{fmt.Sprintf("WINDOW %d", id)}
	}
	return nil
}

func ended(id uint32, yes bool) []string {
	if yes {
		return []string{fmt.Sprintf("END %d", id)}
	}
	return nil
}

// sees waits until the Conn has sent what is wanted, and fails if it closes
// before.
func (p *peer) sees(want string) {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		closed := false
		select {
		case <-p.done:
			closed = true
		case <-time.After(2 * time.Millisecond):
		}
		p.mu.Lock()
		seen := slices.Clone(p.seen)
		p.mu.Unlock()
		if slices.Contains(seen, want) {
			return
		}
		if closed || time.Now().After(deadline) {
			p.t.Fatalf("the connection ended, or went on, without %q; seen %q", want, seen)
		}
	}
}

// sawNot fails if the Conn has sent anything that begins so.
func (p *peer) sawNot(prefix string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.seen {
		if strings.HasPrefix(s, prefix) {
			p.t.Errorf("seen %q", s)
		}
	}
}

func (p *peer) encode(fields ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return slices.Clone(p.block.Bytes())
}

func (p *peer) head(id uint32, end bool, fields ...string) {
	_ = p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.encode(fields...), EndStream: end, EndHeaders: true})
}

// get is the fields of a request that nothing is wrong with.
func get(more ...string) []string {
	return append([]string{":method", "POST", ":scheme", "https", ":authority", "api.example", ":path", "/"}, more...)
}

// books is a handler that keeps what it was told.
type books struct {
	mu     sync.Mutex
	events []string
	answer bool
}

func (b *books) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, fmt.Sprintf(format, args...))
}

func (b *books) has(prefix string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.events, func(e string) bool { return strings.HasPrefix(e, prefix) })
}

func (b *books) Handle(s *h2.Stream, e *h2.Event) {
	switch e.Kind {
	case h2.Head:
		b.note("head %d %d", s.ID(), e.Status)
	case h2.Data:
		b.note("data %d %d", s.ID(), len(e.Data))
		s.Consumed(e.Batch, len(e.Data))
	case h2.Trailers:
		b.note("trailers %d", s.ID())
	case h2.Closed:
		b.note("closed %d %v", s.ID(), e.Err)
	}
	if e.End {
		b.note("end %d", s.ID())
		if b.answer {
			_ = s.WriteHead(e.Batch, []hpack.HeaderField{{Name: ":status", Value: "204"}}, true)
		}
	}
}

// startServer puts a Conn behind a socket and greets it.
func startServer(t testing.TB, o h2.Options, b *books) *peer {
	t.Helper()
	p, _ := startRaw(t, false, func(c net.Conn) *h2.Conn {
		if o.Refused == nil {
			o.Refused = func(batch *h2.Batch, s *h2.Stream, r *h2.Request, err *h2.RequestError) {
				b.note("refused %d %s", s.ID(), err.Detail)
				if err.Status != 0 {
					_ = s.WriteHead(batch, []hpack.HeaderField{{Name: ":status", Value: fmt.Sprint(err.Status)}}, true)
				}
			}
		}
		return h2.NewServer(c, o, func() h2.Handler { return b })
	})
	_, _ = io.WriteString(p.c, http2.ClientPreface)
	_ = p.f.WriteSettings()
	return p
}

func startRaw(t testing.TB, ofClient bool, make func(net.Conn) *h2.Conn) (*peer, *h2.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn := make(theirs)
	var wg sync.WaitGroup
	wg.Go(func() { _ = conn.Serve() })
	p := newPeer(t, ours, ofClient)
	t.Cleanup(func() {
		_ = ours.Close()
		wg.Wait()
		<-p.done
	})
	return p, conn
}

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
		"space before a value":    get("x", " a"),
		"space behind a value":    get("x", "a\t"),
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

// hoarder consumes nothing and answers nothing.
type hoarder struct{}

func (*hoarder) Handle(*h2.Stream, *h2.Event) {}

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

// TestBadResponses: the client's end holds responses to the same rules.
func TestBadResponses(t *testing.T) {
	for name, send := range map[string]func(p *peer){
		"no status":              func(p *peer) { p.head(1, false, "x", "y") },
		"status of two digits":   func(p *peer) { p.head(1, false, ":status", "20") },
		"status in words":        func(p *peer) { p.head(1, false, ":status", "2xx") },
		"status twice":           func(p *peer) { p.head(1, false, ":status", "200", ":status", "200") },
		"status 101":             func(p *peer) { p.head(1, false, ":status", "101") },
		"path in a response":     func(p *peer) { p.head(1, false, ":status", "200", ":path", "/") },
		"upper case":             func(p *peer) { p.head(1, false, ":status", "200", "X", "y") },
		"LF in a value":          func(p *peer) { p.head(1, false, ":status", "200", "x", "a\nb") },
		"connection":             func(p *peer) { p.head(1, false, ":status", "200", "connection", "close") },
		"interim with end":       func(p *peer) { p.head(1, true, ":status", "103") },
		"DATA before the head":   func(p *peer) { _ = p.f.WriteData(1, false, []byte("x")) },
		"length without content": func(p *peer) { p.head(1, true, ":status", "200", "content-length", "1") },
		"less content": func(p *peer) {
			p.head(1, false, ":status", "200", "content-length", "2")
			_ = p.f.WriteData(1, true, []byte("x"))
		},
		"more content": func(p *peer) {
			p.head(1, false, ":status", "200", "content-length", "2")
			_ = p.f.WriteData(1, true, []byte("xxx"))
		},
		"content with 204": func(p *peer) { p.head(1, false, ":status", "204"); _ = p.f.WriteData(1, true, []byte("x")) },
	} {
		t.Run(name, func(t *testing.T) {
			b := &books{}
			p, c := startRaw(t, true, func(c net.Conn) *h2.Conn { return h2.NewClient(c, h2.Options{}) })
			_, err := c.Open(nil, b, []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":path", Value: "/"}}, true)
			if err != nil {
				t.Fatal(err)
			}
			_ = p.f.WriteSettings()
			send(p)
			p.sees("RST 1 PROTOCOL_ERROR")
			if b.has("end") || !b.has("closed 1") {
				t.Errorf("the handler was told %q", b.events)
			}
		})
	}
}

// TestUnprocessed: what the peer has not looked at may be sent elsewhere, and
// what it has may not.
func TestUnprocessed(t *testing.T) {
	for name, c := range map[string]struct {
		send func(p *peer)
		want bool
	}{
		"GOAWAY before it": {func(p *peer) { _ = p.f.WriteGoAway(0, http2.ErrCodeNo, nil) }, true},
		"refused":          {func(p *peer) { _ = p.f.WriteRSTStream(1, http2.ErrCodeRefusedStream) }, true},
		"cancelled":        {func(p *peer) { _ = p.f.WriteRSTStream(1, http2.ErrCodeCancel) }, false},
		"closed":           {func(p *peer) { _ = p.c.Close() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			closed := make(chan error, 1)
			p, conn := startRaw(t, true, func(c net.Conn) *h2.Conn { return h2.NewClient(c, h2.Options{}) })
			_, err := conn.Open(nil, closing(closed), []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":path", Value: "/"}}, true)
			if err != nil {
				t.Fatal(err)
			}
			_ = p.f.WriteSettings()
			c.send(p)
			if err := <-closed; h2.Unprocessed(err) != c.want {
				t.Errorf("%v: unprocessed %v", err, !c.want)
			}
		})
	}
}

type closing chan error

func (c closing) Handle(_ *h2.Stream, e *h2.Event) {
	if e.Kind == h2.Closed {
		c <- e.Err
	}
}

// TestShutdown: streams that are open go on, a new one is not taken, and Serve
// returns nil.
func TestShutdown(t *testing.T) {
	ours, theirs := net.Pipe()
	b := &books{answer: true}
	conn := h2.NewServer(theirs, h2.Options{}, func() h2.Handler { return b })
	ended := make(chan error, 1)
	go func() { ended <- conn.Serve() }()
	p := newPeer(t, ours, false)
	_, _ = io.WriteString(p.c, http2.ClientPreface)
	_ = p.f.WriteSettings()
	p.head(1, false, get()...)
	_ = p.f.WritePing(false, [8]byte{})
	p.sees("PING true")
	conn.Shutdown()
	p.sees("PING false")
	_ = p.f.WritePing(true, [8]byte([]byte("drain h2")))
	_ = p.f.WritePing(false, [8]byte{1})
	p.head(3, false, get()...)
	_ = p.f.WriteData(3, true, []byte("of no interest"))
	_ = p.f.WriteData(1, true, []byte("the rest"))
	p.sees("HEAD 1 204")
	<-p.done
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if b.has("head 3") {
		t.Error("a stream was taken behind the last GOAWAY")
	}
	_ = ours.Close()
}

// TestClientShutdown: the stream that is open ends well, no other is opened, and
// Serve returns nil.
func TestClientShutdown(t *testing.T) {
	ours, theirs := net.Pipe()
	conn := h2.NewClient(theirs, h2.Options{})
	ended := make(chan error, 1)
	go func() { ended <- conn.Serve() }()
	p := newPeer(t, ours, true)
	b := &books{}
	fields := []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":path", Value: "/"}}
	if _, err := conn.Open(nil, b, fields, true); err != nil {
		t.Fatal(err)
	}
	conn.Shutdown()
	if _, err := conn.Open(nil, b, fields, true); err != h2.ErrLeaving || conn.Room() != 0 || conn.Alive() {
		t.Errorf("opened behind Shutdown: %v, room %d", err, conn.Room())
	}
	_ = p.f.WriteSettings()
	p.head(1, true, ":status", "200")
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if !b.has("end 1") || b.has("closed") {
		t.Errorf("the handler was told %q", b.events)
	}
	_ = ours.Close()
	<-p.done
}

// TestInterimFlood: heads of status 1xx without end reach the handler a bounded
// number of times, and the response does.
func TestInterimFlood(t *testing.T) {
	b := &books{}
	p, c := startRaw(t, true, func(c net.Conn) *h2.Conn { return h2.NewClient(c, h2.Options{}) })
	fields := []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":path", Value: "/"}}
	if _, err := c.Open(nil, b, fields, true); err != nil {
		t.Fatal(err)
	}
	_ = p.f.WriteSettings()
	for range 10000 {
		p.head(1, false, ":status", "103")
	}
	p.head(1, true, ":status", "200")
	_ = p.f.WritePing(false, [8]byte{})
	p.sees("PING true")
	if !b.has("end 1") || len(b.events) > 40 {
		t.Errorf("%d events", len(b.events))
	}
	s, err := c.Open(nil, b, fields, true)
	if err != nil {
		t.Fatal(err)
	}
	s.Reset(nil, http2.ErrCodeCancel)
	for range 10000 { // under way when the stream was reset
		p.head(3, false, ":status", "103")
	}
	_ = p.f.WritePing(true, [8]byte{})
	_ = p.f.WritePing(false, [8]byte{1})
	if _, err := c.Open(nil, b, fields, true); err != nil {
		t.Error(err)
	}
	p.head(5, true, ":status", "200")
	for !b.has("end 5") {
		if b.has("closed") {
			t.Fatalf("told %q", b.events[len(b.events)-1])
		}
		time.Sleep(time.Millisecond)
	}
}
