package h2_test

import (
	"net"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/h2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

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
