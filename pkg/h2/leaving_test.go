package h2_test

import (
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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

// TestShutdownUnanswered: who does not answer the PING behind the first GOAWAY opens
// streams for a while, and no longer.
func TestShutdownUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		b := &books{answer: true}
		conn := h2.NewServer(theirs, h2.Options{}, func() h2.Handler { return b })
		ended := make(chan error, 1)
		go func() { ended <- conn.Serve() }()
		p := newPeer(t, ours, false)
		_, _ = io.WriteString(p.c, http2.ClientPreface)
		_ = p.f.WriteSettings()
		p.head(1, false, get()...)
		conn.Shutdown()
		p.head(3, true, get()...)
		synctest.Wait()
		time.Sleep(time.Minute)
		p.head(5, true, get()...)
		synctest.Wait()
		if !b.has("head 3") || b.has("head 5") {
			t.Errorf("the handler was told %q; want stream 3 and not 5", b.events)
		}
		_ = p.f.WriteData(1, true, []byte("the rest"))
		p.sees("HEAD 1 204")
		<-p.done
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		_ = ours.Close()
	})
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

// slow takes nothing, and its time to close, as TLS does whose alert finds no room.
type slow struct {
	net.Conn
	closing, closed chan struct{}
	once            sync.Once
}

func (*slow) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func (s *slow) Close() error {
	s.once.Do(func() { close(s.closing) })
	<-s.closed
	return s.Conn.Close()
}

// TestSlowClose: nobody waits for the end of a connection who only asks it something:
// that is the reader of another, or holds the lock of all there are.
func TestSlowClose(t *testing.T) {
	ours, theirs := net.Pipe()
	s := &slow{Conn: theirs, closing: make(chan struct{}), closed: make(chan struct{})}
	conn := h2.NewClient(s, h2.Options{})
	ended := make(chan error, 1)
	go func() { ended <- conn.Serve() }()
	<-s.closing
	alive := make(chan bool, 1)
	go func() { alive <- conn.Alive() }()
	select {
	case yes := <-alive:
		if yes {
			t.Error("a connection that can't be written to is alive")
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for the close")
	}
	close(s.closed)
	if err := <-ended; !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Serve: %v", err)
	}
	_ = ours.Close()
}

// mute is a connection whose peer reads on and says nothing any more.
type mute struct {
	net.Conn
	over atomic.Bool // and we have found out
}

func (m *mute) Read([]byte) (int, error) {
	m.over.Store(true)
	return 0, io.EOF
}

// TestOpenAtEOF: a stream that is opened as the peer closes is never said to be
// unprocessed: its head may have left.
func TestOpenAtEOF(t *testing.T) {
	fields := []hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":path", Value: "/"}}
	for range 10000 {
		ours, theirs := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, ours) }()
		m := &mute{Conn: theirs}
		conn := h2.NewClient(m, h2.Options{})
		ended := make(chan error, 1)
		go func() { ended <- conn.Serve() }()
		for !m.over.Load() { // nothing else is as quick
			runtime.Gosched()
		}
		closed := make(chan error, 1)
		if _, err := conn.Open(nil, closing(closed), fields, true); err == nil {
			if err := <-closed; h2.Unprocessed(err) {
				t.Fatalf("the stream was opened, and its end is %v", err)
			}
		}
		<-ended
	}
}
