package proxy_test

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer is a workload, frame by frame.
type peer struct {
	t    testing.TB
	c    net.Conn
	f    *http2.Framer
	done chan struct{} // the other end has closed

	mu   sync.Mutex
	seen []string // what came, said shortly
}

// newPeer greets and notes what comes.
func newPeer(t testing.TB, c net.Conn, settings ...http2.Setting) *peer {
	t.Helper()
	p := &peer{t: t, c: c, f: http2.NewFramer(c, c), done: make(chan struct{})}
	p.f.AllowIllegalWrites = true
	_, _ = io.WriteString(c, http2.ClientPreface)
	_ = p.f.WriteSettings(settings...)
	go p.listen()
	t.Cleanup(func() { _ = c.Close(); <-p.done })
	return p
}

func (p *peer) listen() {
	defer close(p.done)
	in := http2.NewFramer(io.Discard, p.c)
	in.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := in.ReadFrame()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.seen = append(p.seen, shortly(frame)...)
		p.mu.Unlock()
	}
}

func shortly(frame http2.Frame) (said []string) {
	id, ended := frame.Header().StreamID, false
	switch f := frame.(type) {
	case *http2.GoAwayFrame:
		return []string{fmt.Sprintf("GOAWAY %v", f.ErrCode)}
	case *http2.RSTStreamFrame:
		return []string{fmt.Sprintf("RST %d %v", id, f.ErrCode)}
	case *http2.PingFrame:
		return []string{fmt.Sprintf("PING %v", f.IsAck())}
	case *http2.MetaHeadersFrame:
		said, ended = []string{fmt.Sprintf("HEAD %d %s", id, f.PseudoValue("status"))}, f.StreamEnded()
	case *http2.DataFrame:
		said, ended = []string{fmt.Sprintf("DATA %d %s", id, f.Data())}, f.StreamEnded()
	}
	if ended {
		said = append(said, fmt.Sprintf("END %d", id))
	}
	return said
}

// sees waits until something came that begins so; the connection may have ended.
func (p *peer) sees(want string) {
	p.t.Helper()
	p.seesOne(want)
}

// seesOne is sees for the first of several.
func (p *peer) seesOne(wanted ...string) {
	p.t.Helper()
	saw := func() bool { return slices.ContainsFunc(wanted, p.saw) }
	for deadline := time.Now().Add(10 * time.Second); !saw(); time.Sleep(time.Millisecond) {
		select {
		case <-p.done:
			deadline = time.Time{}
		default:
		}
		if time.Now().After(deadline) && !saw() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.t.Fatalf("none of %q; seen %.2000q", wanted, p.seen)
		}
	}
}

func (p *peer) saw(prefix string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.seen, func(s string) bool { return strings.HasPrefix(s, prefix) })
}

// head sends a field section, in one frame or several.
func (p *peer) head(id uint32, end bool, fields ...string) error {
	return p.block(id, end, encoded(fields...))
}

func (p *peer) block(id uint32, end bool, block []byte) error {
	n := min(len(block), 16<<10)
	err := p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:n], EndStream: end, EndHeaders: n == len(block)})
	for block = block[n:]; err == nil && len(block) > 0; block = block[n:] {
		n = min(len(block), 16<<10)
		err = p.f.WriteContinuation(id, n == len(block), block[:n])
	}
	return err
}

// post is the fields of a request that nothing is wrong with.
func post(more ...string) []string {
	return append([]string{":method", "POST", ":scheme", "https", ":authority", host, ":path", "/v1/x"}, more...)
}
