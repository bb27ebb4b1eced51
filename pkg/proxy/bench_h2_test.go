package proxy_test

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/outwarden/outwarden/pkg/h2"
	"github.com/outwarden/outwarden/pkg/policy"
)

// message is a request and its response, and how they are loaded.
type message struct {
	conns, streams int
	head           []hpack.HeaderField
	body           []byte
	response       []hpack.HeaderField
	content        []byte
	pieces         int // how often content is sent
	trailers       []hpack.HeaderField
}

var (
	getHead = []hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: host},
		{Name: ":path", Value: "/1k"}, {Name: "user-agent", Value: "bench"}, {Name: "accept", Value: "*/*"},
	}
	rpcHead = []hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: host},
		{Name: ":path", Value: "/test.Chat/Say"}, {Name: "content-type", Value: "application/grpc"},
		{Name: "user-agent", Value: "grpc-go/1.70.0"}, {Name: "te", Value: "trailers"}, {Name: "grpc-timeout", Value: "20S"},
	}
	okHead = []hpack.HeaderField{
		{Name: ":status", Value: "200"}, {Name: "server", Value: "bench"}, {Name: "date", Value: "Mon, 23 Nov 2026 10:00:00 GMT"},
		{Name: "content-type", Value: "application/octet-stream"}, {Name: "last-modified", Value: "Mon, 23 Nov 2026 09:00:00 GMT"},
		{Name: "etag", Value: `"6921f0a0-400"`}, {Name: "accept-ranges", Value: "bytes"},
	}
	rpcEnd = []hpack.HeaderField{{Name: "grpc-status", Value: "0"}, {Name: "grpc-message", Value: ""}}
)

// BenchmarkHTTP2 sends messages through the whole path, client and origin on our
// own engine, so that most of what is measured is ours; records are dropped.
func BenchmarkHTTP2(b *testing.B) {
	kib := make([]byte, 1024)
	for name, m := range map[string]message{
		"small":         {8, 32, getHead, nil, okHead, kib, 1, nil},
		"unary":         {8, 32, rpcHead, kib[:100], okHead[:4], kib[:100], 1, rpcEnd},
		"one at a time": {1, 1, rpcHead, kib[:100], okHead[:4], kib[:100], 1, rpcEnd},
		"stream":        {8, 4, rpcHead, kib[:100], okHead[:4], kib[:100], 100, rpcEnd},
		"download":      {4, 1, getHead, nil, okHead, make([]byte, 64<<10), 160, nil},
	} {
		b.Run(name, m.run)
	}
}

func (m message) run(b *testing.B) {
	w := newWorld(b, func(o *options) { o.Records = unwritten{} })
	w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	o := w.originFor(func(c net.Conn) {
		_ = h2.NewServer(c, h2.Options{}, func() h2.Handler { return &answering{m: &m} }).Serve()
	}, host)
	o.config.NextProtos, o.silent = []string{"h2"}, true
	w.use(policy.Intercept, w.partnerRoute())
	l := &load{m: &m, fail: make(chan error, m.conns*m.streams)}
	l.left.Store(int64(b.N))
	var conns []*h2.Conn
	var serving sync.WaitGroup
	for range m.conns {
		c := w.tls(as{original: o.addr}, host, "h2")
		_ = c.SetDeadline(time.Time{})
		conn := h2.NewClient(c, h2.Options{StreamWindow: 1 << 20})
		conns = append(conns, conn)
		serving.Go(func() { _ = conn.Serve() })
	}
	b.SetBytes(int64(len(m.content)) * int64(m.pieces))
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu()
	for _, c := range conns {
		for range m.streams {
			l.done.Add(1)
			l.next(nil, c)
		}
	}
	l.done.Wait()
	b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
	b.StopTimer()
	for _, c := range conns {
		c.Close()
	}
	serving.Wait()
	if len(l.fail) > 0 {
		b.Error(<-l.fail)
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// answering is the origin's side of one stream.
type answering struct {
	m    *message
	mu   sync.Mutex
	sent int // pieces
	kept int // bytes that wait for a window
}

func (a *answering) Handle(s *h2.Stream, e *h2.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.Consumed(e.Batch, len(e.Data))
	if e.End {
		_ = s.WriteHead(e.Batch, a.m.response, false)
		a.more(s, e)
	}
	if e.Kind == h2.Room {
		if a.kept -= e.N; a.kept == 0 {
			a.more(s, e)
		}
	}
}

// more writes pieces until one of them has to wait.
func (a *answering) more(s *h2.Stream, e *h2.Event) {
	for a.kept == 0 && a.sent < a.m.pieces {
		a.sent++
		n, _ := s.Write(e.Batch, a.m.content, a.sent == a.m.pieces && a.m.trailers == nil)
		a.kept = len(a.m.content) - n
	}
	if a.sent == a.m.pieces && a.m.trailers != nil {
		_ = s.WriteTrailers(e.Batch, a.m.trailers)
	}
}

// load sends one request after the other on each of its streams.
type load struct {
	m    *message
	left atomic.Int64
	done sync.WaitGroup
	fail chan error
}

type asking struct {
	l *load
	c *h2.Conn
}

func (l *load) next(b *h2.Batch, c *h2.Conn) {
	if l.left.Add(-1) < 0 {
		l.done.Done()
		return
	}
	s, err := c.Open(b, asking{l, c}, l.m.head, l.m.body == nil)
	if err != nil {
		l.fail <- err
		l.done.Done()
		return
	}
	if l.m.body != nil {
		_, _ = s.Write(b, l.m.body, true)
	}
}

func (a asking) Handle(s *h2.Stream, e *h2.Event) {
	s.Consumed(e.Batch, len(e.Data))
	if e.Kind == h2.Closed || e.Status >= 300 {
		a.l.fail <- e.Err
		a.l.done.Done()
		return
	}
	if e.End {
		a.l.next(e.Batch, a.c)
	}
}
