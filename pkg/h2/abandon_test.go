package h2_test

import (
	"io"
	"net"
	"testing"

	"github.com/outwarden/outwarden/pkg/h2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestAbandoned: what of a response was not consumed when its stream is given up no
// longer takes room in the connection's window, also where the stream had ended on
// both sides by then.
func TestAbandoned(t *testing.T) {
	const size = 16 << 10
	p, conn := startRaw(t, true, func(c net.Conn) *h2.Conn { return h2.NewClient(c, h2.Options{ConnWindow: 65535}) })
	_ = p.f.WriteSettings()
	fields := []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":path", Value: "/"}}
	for id := uint32(1); id < 20; id += 2 {
		s, err := conn.Open(nil, &hoarder{}, fields, true)
		if err != nil {
			t.Fatal(err)
		}
		p.round()
		p.head(id, false, ":status", "200")
		_ = p.f.WriteData(id, true, make([]byte, size))
		p.round()
		s.Reset(nil, http2.ErrCodeCancel)
		s.Reset(nil, http2.ErrCodeCancel) // it is given up once
	}
	p.round()
	if opened := p.opened(0); opened < 10*size-65535/2 || opened > 10*size {
		t.Errorf("the connection's window was opened by %d of %d", opened, 10*size)
	}
}

// TestBeyondWindow: a stream that sends more than it may ends alone, and takes no
// room of the others' with it.
func TestBeyondWindow(t *testing.T) {
	const size = 16 << 10
	p, conn := startRaw(t, true, func(c net.Conn) *h2.Conn {
		return h2.NewClient(c, h2.Options{ConnWindow: 65535, StreamWindow: 8 << 10})
	})
	_ = p.f.WriteSettings()
	_ = p.f.WriteSettingsAck()
	fields := []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":path", Value: "/"}}
	for id := uint32(1); id < 20; id += 2 {
		if _, err := conn.Open(nil, &hoarder{}, fields, true); err != nil {
			t.Fatal(err)
		}
		p.round()
		p.head(id, false, ":status", "200")
		_ = p.f.WriteData(id, true, make([]byte, size))
		p.round()
	}
	p.sees("RST 19 FLOW_CONTROL_ERROR")
	p.sawNot("GOAWAY")
}

// TestResetOpens: what a peer takes back of its streams opens the connection's window
// for it at once: it may have nothing else to say until then.
func TestResetOpens(t *testing.T) {
	const size, streams = 16 << 10, 4
	p, _ := startRaw(t, false, func(c net.Conn) *h2.Conn {
		return h2.NewServer(c, h2.Options{ConnWindow: 65535}, func() h2.Handler { return &hoarder{} })
	})
	_, _ = io.WriteString(p.c, http2.ClientPreface)
	_ = p.f.WriteSettings()
	for i := range uint32(streams) {
		p.head(2*i+1, false, get()...)
		_ = p.f.WriteData(2*i+1, false, make([]byte, size-1))
	}
	p.round()
	for i := range uint32(streams) {
		_ = p.f.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
	}
	p.sees("WINDOW 0")
}
