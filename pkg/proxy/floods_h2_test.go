package proxy_test

import (
	"bytes"
	"io"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/audit"
)

// floodMemory is what one connection that floods may cost, however long it goes on.
const floodMemory = 24 << 20

// TestFloods is H3: what is cheap to send and moves nothing ends the connection
// after a number of frames that is bounded, is recorded, and leaves memory, the
// upstream and the connections of others alone.
func TestFloods(t *testing.T) {
	open := func(p *peer, i int) error { return p.head(uint32(2*i+1), false, post()...) }
	once := func(p *peer, i int) {
		if i == 0 {
			_ = open(p, 0)
		}
	}
	for name, send := range map[string]func(p *peer, i int) error{
		"rapid reset": func(p *peer, i int) error {
			_ = open(p, i)
			return p.f.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel)
		},
		"made to reset": func(p *peer, i int) error {
			_ = open(p, i)
			return p.f.WriteWindowUpdate(uint32(2*i+1), 0)
		},
		"malformed heads": func(p *peer, i int) error { return p.head(uint32(2*i+1), true, post("te", "gzip")...) },
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
		"SETTINGS":      func(p *peer, _ int) error { return p.f.WriteSettings() },
		"PING":          func(p *peer, _ int) error { return p.f.WritePing(false, [8]byte{}) },
		"empty DATA":    func(p *peer, i int) error { once(p, i); return p.f.WriteData(1, false, nil) },
		"PRIORITY":      func(p *peer, _ int) error { return p.f.WritePriority(1, http2.PriorityParam{Weight: 3}) },
		"WINDOW_UPDATE": func(p *peer, i int) error { once(p, i); return p.f.WriteWindowUpdate(1, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			var reached atomic.Int32
			w, o := overHTTP2(t, func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/other" {
					reached.Add(1)
				}
				_, _ = io.Copy(rw, r.Body)
			})
			other := w.peer(o)
			p := w.peer(o)
			before := heapInUse()
			const most = 100_000
			sent := 0
			for ; sent < most && send(p, sent) == nil; sent++ {
				if sent == 100 { // in the middle of it
					request := post()
					request[7] = "/other"
					_ = other.head(1, true, request...)
					other.sees("END 1")
				}
			}
			if sent == most {
				t.Errorf("%d frames did not end the connection", sent)
			}
			p.sees("GOAWAY ENHANCE_YOUR_CALM")
			<-p.done
			if grown := heapInUse() - before; grown > floodMemory {
				t.Errorf("%d bytes of memory", grown)
			}
			other.serves(3)
			if n := reached.Load(); n > 1000 {
				t.Errorf("%d requests at the origin", n)
			}
			w.awaitOf(audit.KindConnection, "bad_request")
		})
	}
}

// serves asks once more on a connection.
func (p *peer) serves(id uint32) {
	p.t.Helper()
	request := post()
	request[7] = "/other"
	_ = p.head(id, true, request...)
	p.sees("HEAD " + string(rune('0'+id)) + " 200")
}

// awaitOf waits for a record with a reason.
func (w *world) awaitOf(kind, reason string) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for _, r := range w.records.of(kind) {
			if r.Reason == reason {
				return
			}
		}
	}
	w.t.Errorf("no record of kind %s says %s", kind, reason)
}

func heapInUse() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse)
}

// TestBomb is H3 too: a head that is short on the wire and huge when decoded.
func TestBomb(t *testing.T) {
	w, o := overHTTP2(t, func(http.ResponseWriter, *http.Request) {})
	p := w.peer(o)
	block := bytes.Join([][]byte{
		encoded(post()...),
		{0x40, 1, 'x', 0x7f, 0xbd, 0x1d}, bytes.Repeat([]byte("v"), 3900), // an entry that fills the table
		bytes.Repeat([]byte{0x80 | 62}, 12000), // and again, and again: 47 MB
	}, nil)
	before := heapInUse()
	_ = p.block(1, true, block)
	p.sees("HEAD 1 431")
	if grown := heapInUse() - before; grown > floodMemory {
		t.Errorf("%d bytes of memory", grown)
	}
	if r := w.request(); r.Reason != "header_too_large" || r.Status != 431 {
		t.Errorf("record %+v", r)
	}
	p.serves(3)
}

// TestShutWindows: a workload that asks for much and reads nothing holds some
// memory for some time, and holds up nobody with whom it shares an upstream
// connection.
func TestShutWindows(t *testing.T) {
	const streams = 200
	large := make([]byte, 1<<20)
	w, o := overHTTP2(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/other" {
			_, _ = rw.Write(large)
		}
	}, func(o *options) { o.Timeouts.BodyStall = 2 * time.Second })
	other := w.peer(o)
	other.serves(1)
	before := heapInUse()
	p := w.peer(o, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	for i := range streams {
		_ = p.head(uint32(2*i+1), true, post()...)
	}
	p.sees("HEAD 399 200")
	other.serves(3)
	if grown := heapInUse() - before; grown > 3*floodMemory { // both ends of both connections
		t.Errorf("%d bytes of memory", grown)
	} else {
		t.Logf("%d bytes of memory", grown)
	}
	p.sees("RST 399 ")
	for _, r := range w.records.of(audit.KindRequest) {
		if r.Path != "/other" && (r.Reason != "workload_timeout" || r.Status != 200) {
			t.Errorf("record %+v", r)
		}
	}
	other.serves(5)
}
