package h2_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/h2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// headOnly answers each request with a head of one KiB and no content, which no window
// bounds.
type headOnly struct{}

func (headOnly) Handle(s *h2.Stream, e *h2.Event) {
	if e.Kind == h2.Head {
		_ = s.WriteHead(e.Batch, []hpack.HeaderField{{Name: ":status", Value: "204"}, {Name: "etag", Value: strings.Repeat("v", 1<<10)}}, true)
	}
}

// TestUnreadHeads: a peer that asks on and on and reads nothing of the answers does not
// fill our memory with their heads.
func TestUnreadHeads(t *testing.T) {
	ours, theirs := pair(t)
	conn := h2.NewServer(theirs, h2.Options{}, func() h2.Handler { return headOnly{} })
	ended := make(chan error, 1)
	go func() { ended <- conn.Serve() }()
	p := &peer{t: t, c: ours, f: http2.NewFramer(ours, ours)}
	p.enc = hpack.NewEncoder(&p.block)
	_, _ = io.WriteString(ours, http2.ClientPreface)
	_ = p.f.WriteSettings()
	before, sent := heap(), uint32(0)
	const most = 100_000
	for ; sent < most; sent++ {
		if p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*sent + 1, BlockFragment: p.encode(get()...), EndStream: true, EndHeaders: true}) != nil {
			break
		}
	}
	grown := heap() - before
	t.Logf("%d requests, %d bytes of memory", sent, grown)
	if grown > 32<<20 {
		t.Errorf("%d bytes of memory for one peer that does not read", grown)
	}
	_ = ours.Close()
	var why *h2.ConnError
	if err := <-ended; !errors.As(err, &why) || why.Code != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("Serve: %v", err)
	}
}

// pair is both ends of a TCP connection.
func pair(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if ours, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if theirs, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}
