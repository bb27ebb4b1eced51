package h2_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/h2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestFloods: what is cheap to send and moves nothing ends the connection, after
// a number of frames that is bounded.
func TestFloods(t *testing.T) {
	reset := func(p *peer, id uint32) error {
		p.head(id, false, get()...)
		return p.f.WriteRSTStream(id, http2.ErrCodeCancel)
	}
	for name, send := range map[string]func(p *peer, i int) error{
		"rapid reset": func(p *peer, i int) error { return reset(p, uint32(2*i+1)) },
		"made to reset": func(p *peer, i int) error {
			p.head(uint32(2*i+1), false, get()...)
			return p.f.WriteWindowUpdate(uint32(2*i+1), 0)
		},
		"malformed requests": func(p *peer, i int) error {
			p.head(uint32(2*i+1), true, get("te", "gzip")...)
			return p.f.WriteWindowUpdate(0, 1)
		},
		"PING":               func(p *peer, _ int) error { return p.f.WritePing(false, [8]byte{}) },
		"confirmed PING":     func(p *peer, _ int) error { return p.f.WritePing(true, [8]byte{}) },
		"SETTINGS":           func(p *peer, _ int) error { return p.f.WriteSettings() },
		"confirmed SETTINGS": func(p *peer, _ int) error { return p.f.WriteSettingsAck() },
		"empty DATA":         func(p *peer, i int) error { return onOne(p, i, func() error { return p.f.WriteData(1, false, nil) }) },
		"padded empty DATA": func(p *peer, i int) error {
			return onOne(p, i, func() error { return p.f.WriteDataPadded(1, false, nil, make([]byte, 9)) })
		},
		"PRIORITY":            func(p *peer, _ int) error { return p.f.WritePriority(1, http2.PriorityParam{Weight: 3}) },
		"WINDOW_UPDATE":       func(p *peer, _ int) error { return p.f.WriteWindowUpdate(0, 1) },
		"unknown frames":      func(p *peer, _ int) error { return p.f.WriteRawFrame(77, 0, 0, nil) },
		"DATA behind the end": func(p *peer, i int) error { return onOne(p, i, func() error { return p.f.WriteData(1, true, nil) }) },
		"CONTINUATION": func(p *peer, i int) error {
			if i == 0 {
				return p.f.WriteRawFrame(http2.FrameHeaders, 0, 1, nil)
			}
			return p.f.WriteContinuation(1, false, []byte("x"))
		},
		"large CONTINUATION": func(p *peer, i int) error {
			if i == 0 {
				return p.f.WriteRawFrame(http2.FrameHeaders, 0, 1, nil)
			}
			return p.f.WriteContinuation(1, false, make([]byte, 16<<10))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := startServer(t, h2.Options{}, &books{})
			for i := range 20000 {
				if send(p, i) != nil {
					break
				}
			}
			p.sees("GOAWAY ENHANCE_YOUR_CALM")
			<-p.done
		})
	}
}

func onOne(p *peer, i int, send func() error) error {
	if i == 0 {
		p.head(1, false, get()...)
	}
	return send()
}

// TestHonestWorkIsNoFlood: resets and PINGs between requests that end well do no
// harm, however many.
func TestHonestWorkIsNoFlood(t *testing.T) {
	b := &books{answer: true}
	p := startServer(t, h2.Options{}, b)
	id := uint32(1)
	for range 1500 {
		p.head(id, false, get()...)
		_ = p.f.WriteRSTStream(id, http2.ErrCodeCancel)
		_ = p.f.WritePing(false, [8]byte{})
		p.head(id+2, true, get()...)
		p.head(id+4, true, get()...)
		id += 6
	}
	_ = p.f.WritePing(false, [8]byte{1})
	p.head(id, true, get()...)
	p.sees("HEAD 9001 204")
	p.sawNot("GOAWAY")
}

// TestManyWindows: a peer that opens its windows for each KiB it has read is
// honest, also when it does so behind the last of the DATA.
func TestManyWindows(t *testing.T) {
	w := &writer{make(chan error, 1)}
	p, _ := startRaw(t, false, func(c net.Conn) *h2.Conn {
		return h2.NewServer(c, h2.Options{}, func() h2.Handler { return w })
	})
	_, _ = io.WriteString(p.c, http2.ClientPreface)
	_ = p.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	_ = p.f.WriteWindowUpdate(0, 1<<30)
	for id := uint32(1); id < 100; id += 2 {
		p.head(id, true, get()...)
		p.sees(fmt.Sprintf("END %d", id))
		for range 200 {
			_ = p.f.WriteWindowUpdate(0, 1024)
			_ = p.f.WriteWindowUpdate(id, 1024)
		}
	}
	_ = p.f.WritePing(false, [8]byte{})
	p.sees("PING true")
	p.sawNot("GOAWAY")
}

// TestSettingsBomb: frames of SETTINGS that move the windows of all streams up and down,
// as often as fits into one, do not keep a processor busy for minutes.
func TestSettingsBomb(t *testing.T) {
	p := startServer(t, h2.Options{}, &books{})
	for i := range 256 {
		p.head(uint32(2*i+1), false, get()...)
	}
	p.round()
	var many []http2.Setting
	for i := range 2700 {
		many = append(many, http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i % 2)})
	}
	for range 200 {
		_ = p.f.WriteSettings(many...)
	}
	p.round()
}

// TestBomb: a section that is short on the wire and huge when decoded is not
// kept in memory, and its request is answered with 431.
func TestBomb(t *testing.T) {
	b := &books{answer: true}
	p := startServer(t, h2.Options{}, b)
	block := p.encode(get("x", string(bytes.Repeat([]byte("v"), 3900)))...)
	block = append(block, bytes.Repeat([]byte{0x80 | 62}, 12000)...) // the newest entry, again and again: 47 MB
	_ = p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: true, EndHeaders: true})
	p.sees("HEAD 1 431")
	p.head(3, true, get()...)
	p.sees("HEAD 3 204")
	if b.has("head 1") {
		t.Error("the handler saw it")
	}
}

// writer answers each request with a body that is larger than any window.
type writer struct{ closed chan error }

func (w *writer) Handle(s *h2.Stream, e *h2.Event) {
	switch e.Kind {
	case h2.Head:
		_ = s.WriteHead(e.Batch, []hpack.HeaderField{{Name: ":status", Value: "200"}}, false)
		_, _ = s.Write(e.Batch, make([]byte, 200<<10), true)
	case h2.Closed:
		w.closed <- e.Err
	}
}

// TestShutWindow: a peer that asks and leaves its window shut loses the stream,
// and not the connection.
func TestShutWindow(t *testing.T) {
	w := &writer{make(chan error, 1)}
	p, _ := startRaw(t, false, func(c net.Conn) *h2.Conn {
		return h2.NewServer(c, h2.Options{Stall: 100 * time.Millisecond}, func() h2.Handler { return w })
	})
	_, _ = io.WriteString(p.c, http2.ClientPreface)
	_ = p.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	p.head(1, true, get()...)
	p.sees("HEAD 1 200")
	p.sees("RST 1 CANCEL")
	if err := <-w.closed; err != h2.ErrStalled {
		t.Errorf("closed with %v", err)
	}
	_ = p.f.WritePing(false, [8]byte{})
	p.sees("PING true")
}

// TestStalls: half a frame, half a preface and a peer that does not read end the
// connection.
func TestStalls(t *testing.T) {
	for name, send := range map[string]func(c net.Conn){
		"nothing of the preface": func(net.Conn) {},
		"half a preface":         func(c net.Conn) { _, _ = io.WriteString(c, http2.ClientPreface[:9]) },
		"half a frame": func(c net.Conn) {
			_, _ = io.WriteString(c, http2.ClientPreface)
			_ = http2.NewFramer(c, c).WriteSettings()
			_, _ = c.Write([]byte{0, 0, 5, 1})
		},
		"half a section": func(c net.Conn) {
			_, _ = io.WriteString(c, http2.ClientPreface)
			f := http2.NewFramer(c, c)
			_ = f.WriteSettings()
			_ = f.WriteRawFrame(http2.FrameHeaders, 0, 1, []byte{0x82})
		},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe() // nobody reads ours: a write stalls too
			conn := h2.NewServer(theirs, h2.Options{Stall: 60 * time.Millisecond, Idle: time.Minute}, func() h2.Handler { return &hoarder{} })
			ended := make(chan error, 1)
			go func() { ended <- conn.Serve() }()
			drained := make(chan struct{})
			go func() { defer close(drained); _, _ = io.Copy(io.Discard, ours) }()
			send(ours)
			if err := <-ended; err != h2.ErrStalled {
				t.Errorf("Serve: %v", err)
			}
			_ = ours.Close()
			<-drained
		})
	}
}

// TestNotRead: a peer that reads nothing.
func TestNotRead(t *testing.T) {
	ours, theirs := net.Pipe()
	conn := h2.NewServer(theirs, h2.Options{Stall: 60 * time.Millisecond}, func() h2.Handler { return &hoarder{} })
	if err := conn.Serve(); err != h2.ErrStalled {
		t.Errorf("Serve: %v", err)
	}
	_ = ours.Close()
}

// TestTick: streams that are open are told that time passes, and no others.
func TestTick(t *testing.T) {
	told := make(ticking, 1000)
	p, _ := startRaw(t, false, func(c net.Conn) *h2.Conn {
		return h2.NewServer(c, h2.Options{Patience: 40 * time.Millisecond}, func() h2.Handler { return told })
	})
	_, _ = io.WriteString(p.c, http2.ClientPreface)
	_ = p.f.WriteSettings()
	p.head(1, false, get()...)
	p.head(3, false, get()...)
	told.until(t, map[uint32]int{1: 3, 3: 3})
	_ = p.f.WriteData(1, true, nil)
	p.sees("HEAD 1 204")
	for len(told) > 0 {
		<-told
	}
	if n := told.until(t, map[uint32]int{3: 3})[1]; n > 1 { // one may have been under way
		t.Errorf("%d ticks behind the end", n)
	}
}

// ticking tells which stream was told that 20 ms have passed.
type ticking chan uint32

func (c ticking) Handle(s *h2.Stream, e *h2.Event) {
	if e.Kind == h2.Tick && e.Passed == 20*time.Millisecond {
		c <- s.ID()
	}
	if e.End {
		_ = s.WriteHead(e.Batch, []hpack.HeaderField{{Name: ":status", Value: "204"}}, true)
	}
}

// until counts ticks until there are as many as wanted.
func (c ticking) until(t *testing.T, wanted map[uint32]int) map[uint32]int {
	t.Helper()
	got := map[uint32]int{}
	enough := func() bool {
		for id, n := range wanted {
			if got[id] < n {
				return false
			}
		}
		return true
	}
	for !enough() {
		select {
		case id := <-c:
			got[id]++
		case <-time.After(10 * time.Second):
			t.Fatalf("ticks %v, want %v", got, wanted)
		}
	}
	return got
}

// TestIdle: a connection without a stream ends in good order.
func TestIdle(t *testing.T) {
	p, _ := startRaw(t, false, func(c net.Conn) *h2.Conn {
		return h2.NewServer(c, h2.Options{Idle: 50 * time.Millisecond}, func() h2.Handler { return &hoarder{} })
	})
	_, _ = io.WriteString(p.c, http2.ClientPreface)
	_ = p.f.WriteSettings()
	p.sees("GOAWAY NO_ERROR")
	<-p.done
}

// TestIdleMemory: what an idle connection keeps.
func TestIdleMemory(t *testing.T) {
	const n = 200
	b := &books{answer: true}
	before := heap()
	var peers []*peer
	for range n {
		p := startServer(t, h2.Options{}, b)
		p.head(1, true, get()...)
		p.sees("HEAD 1 204")
		peers = append(peers, p)
	}
	grown := (heap() - before) / n
	t.Logf("%d bytes for both ends of an idle connection", grown)
	if grown > 60<<10 { // the peer's framers, and HPACK tables of both
		t.Errorf("%d bytes for an idle connection", grown)
	}
	runtime.KeepAlive(peers)
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse)
}
