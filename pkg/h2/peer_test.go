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

	mu      sync.Mutex
	windows map[uint32]int // what WINDOW_UPDATE gave
	body    []byte         // all DATA
}

func newPeer(t testing.TB, c net.Conn, ofClient bool) *peer {
	p := &peer{t: t, c: c, f: http2.NewFramer(c, c), done: make(chan struct{}), windows: make(map[uint32]int)}
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
		if f, ok := frame.(*http2.WindowUpdateFrame); ok {
			p.windows[f.StreamID] += int(f.Increment)
		}
		if f, ok := frame.(*http2.DataFrame); ok {
			p.body = append(p.body, f.Data()...)
		}
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

// round waits until the Conn has dealt with everything that was sent.
func (p *peer) round() {
	p.t.Helper()
	p.mu.Lock()
	p.seen = slices.DeleteFunc(p.seen, func(s string) bool { return s == "PING true" })
	p.mu.Unlock()
	_ = p.f.WritePing(false, [8]byte{})
	p.sees("PING true")
}

// opened is by how much the Conn has opened a window.
func (p *peer) opened(id uint32) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.windows[id]
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

// hoarder consumes nothing and answers nothing.
type hoarder struct{}

func (*hoarder) Handle(*h2.Stream, *h2.Event) {}
