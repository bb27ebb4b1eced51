package h2_test

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/outwarden/outwarden/pkg/h2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

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

// TestOpenAtTheEnd: who opens a stream on a connection that the peer has spoilt is told
// so, also while we say goodbye, and not that another would do.
func TestOpenAtTheEnd(t *testing.T) {
	p, conn := startRaw(t, true, func(c net.Conn) *h2.Conn { return h2.NewClient(c, h2.Options{}) })
	_, _ = io.WriteString(p.c, "HTTP/1.1 200 OK\r\n\r\n")
	p.sees("GOAWAY FRAME_SIZE_ERROR")
	_, err := conn.Open(nil, closing(nil), []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":path", Value: "/"}}, true)
	var spoilt *h2.ConnError
	if !errors.As(err, &spoilt) || spoilt.Remote {
		t.Errorf("Open: %v", err)
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
