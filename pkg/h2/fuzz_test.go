package h2_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/h2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// tape is a net.Conn that reads a recording in pieces and swallows what is
// written.
type tape struct {
	data  []byte
	piece int
}

func (t *tape) Read(p []byte) (int, error) {
	if len(t.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, t.data[:min(t.piece, len(t.data))])
	t.data = t.data[n:]
	return n, nil
}

func (t *tape) Write(p []byte) (int, error)      { return len(p), nil }
func (t *tape) Close() error                     { return nil }
func (t *tape) LocalAddr() net.Addr              { return nil }
func (t *tape) RemoteAddr() net.Addr             { return nil }
func (t *tape) SetDeadline(time.Time) error      { return nil }
func (t *tape) SetReadDeadline(time.Time) error  { return nil }
func (t *tape) SetWriteDeadline(time.Time) error { return nil }

// journal holds each stream to the order of events that the package promises.
type journal struct {
	t      *testing.T
	mu     sync.Mutex
	events []string
	state  map[uint32]h2.Kind // the last kind; Closed once nothing may follow
	length map[uint32]int64
}

func (j *journal) Handle(s *h2.Stream, e *h2.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	id, last := s.ID(), j.state[s.ID()]
	interim := e.Kind == h2.Head && e.Request == nil && e.Status < 200
	switch {
	case last == h2.Closed:
		j.t.Errorf("stream %d: %d behind the end", id, e.Kind)
	case e.Kind == h2.Head && last != 0, e.Kind != h2.Head && e.Kind != h2.Closed && last == 0:
		j.t.Errorf("stream %d: %d behind %d", id, e.Kind, last)
	}
	if e.Kind == h2.Data {
		j.length[id] += int64(len(e.Data))
		s.Consumed(e.Batch, len(e.Data))
	}
	if !interim {
		j.state[id] = e.Kind
	}
	if e.Kind == h2.Head && e.Request != nil {
		j.request(e)
		_ = s.WriteHead(e.Batch, []hpack.HeaderField{{Name: ":status", Value: "200"}}, false)
		_, _ = s.Write(e.Batch, make([]byte, 70000), false)
	}
	if e.Kind == h2.Closed {
		j.events = append(j.events, fmt.Sprintf("%d closed", id))
	} else if e.Kind != h2.Room && (e.Kind != h2.Data || e.End) {
		j.events = append(j.events, fmt.Sprintf("%d kind %d status %d end %v fields %d sum %d", id, e.Kind, e.Status, e.End, len(e.Fields), j.length[id]))
	}
}

// request looks for what must never come out of the engine.
func (j *journal) request(e *h2.Event) {
	for _, f := range e.Fields {
		if bytes.ContainsAny([]byte(f.Name+f.Value), "\r\n\x00") {
			j.t.Errorf("%q: %q", f.Name, f.Value)
		}
	}
	if e.Request.Method == "" || e.Request.Authority == "" {
		j.t.Errorf("%+v", e.Request)
	}
}

func play(t *testing.T, data []byte, piece int, client bool) []string {
	j := &journal{t: t, state: map[uint32]h2.Kind{}, length: map[uint32]int64{}}
	c := &tape{slices.Clone(data), piece}
	if !client {
		_ = h2.NewServer(c, h2.Options{}, func() h2.Handler { return j }).Serve()
	} else {
		conn := h2.NewClient(c, h2.Options{})
		for _, method := range []string{"GET", "HEAD", "POST"} {
			_, _ = conn.Open(nil, j, []hpack.HeaderField{{Name: ":method", Value: method}, {Name: ":path", Value: "/"}}, method != "POST")
		}
		_ = conn.Serve()
	}
	// Room is told by the writer and streams end in any order with the connection.
	events := slices.DeleteFunc(j.events, func(e string) bool { return len(e) > 7 && e[len(e)-6:] == "closed" })
	return events
}

// FuzzFrames: no bytes make either end panic or hang or break the order of
// events, and it does not matter in which pieces they come.
func FuzzFrames(f *testing.F) {
	var b bytes.Buffer
	fr := http2.NewFramer(&b, nil)
	b.WriteString(http2.ClientPreface)
	_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 9})
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x83, 0x87, 0x84, 0x41, 1, 'a', 0x0f, 0x0d, 1, '3'}, EndHeaders: true})
	_ = fr.WriteData(1, false, []byte("abc"))
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0, 1, 'x', 1, 'y'}, EndHeaders: true, EndStream: true})
	_ = fr.WriteWindowUpdate(1, 100000)
	_ = fr.WriteRSTStream(1, 8)
	_ = fr.WritePing(false, [8]byte{})
	_ = fr.WriteGoAway(1, 0, nil)
	f.Add(b.Bytes(), uint16(7), false)
	b.Reset()
	_ = fr.WriteSettings()
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x08, 3, '1', '0', '3'}, EndHeaders: true})
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x88}, EndHeaders: true})
	_ = fr.WriteDataPadded(1, true, []byte("body"), make([]byte, 5))
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: []byte{0x88, 0x0f}, EndHeaders: false})
	_ = fr.WriteContinuation(3, true, []byte{0x0d, 1, '9'})
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 5, BlockFragment: []byte{0x8d}, EndHeaders: true, EndStream: true})
	_ = fr.WriteGoAway(3, 0, nil)
	f.Add(b.Bytes(), uint16(100), true)
	f.Fuzz(func(t *testing.T, data []byte, piece uint16, client bool) {
		whole := play(t, data, 1<<20, client)
		if pieces := play(t, data, int(piece)%4096+1, client); !slices.Equal(whole, pieces) {
			t.Errorf("in pieces of %d: %q, whole: %q", piece, pieces, whole)
		}
	})
}
