package h2_test

import (
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/outwarden/outwarden/pkg/h2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// layer is a connection that is told what is written together.
type layer struct {
	net.Conn
	mu    sync.Mutex
	calls []string
}

func (l *layer) note(call string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, call)
}

func (l *layer) Gather()        { l.note("gather") }
func (l *layer) Release() error { l.note("release"); return nil }

func (l *layer) Write(p []byte) (int, error) {
	if len(p) > 16<<10 {
		l.note("large")
	}
	return l.Conn.Write(p)
}

// TestBeneath: what is more than one record is written between Gather and Release,
// and nothing else is.
func TestBeneath(t *testing.T) {
	var l *layer
	w := &writer{make(chan error, 1)}
	p, _ := startRaw(t, false, func(c net.Conn) *h2.Conn {
		l = &layer{Conn: c}
		return h2.NewServer(l, h2.Options{Beneath: l}, func() h2.Handler { return w })
	})
	_, _ = io.WriteString(p.c, http2.ClientPreface)
	_ = p.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	_ = p.f.WriteWindowUpdate(0, 1<<20)
	p.round()
	l.mu.Lock()
	if len(l.calls) > 0 {
		t.Errorf("calls for small writes: %q", l.calls)
	}
	l.mu.Unlock()
	p.head(1, true, get()...)
	p.sees("END 1")
	l.mu.Lock()
	defer l.mu.Unlock()
	want := slices.Repeat([]string{"gather", "large", "release"}, len(l.calls)/3)
	if len(want) == 0 || !slices.Equal(l.calls, want) {
		t.Errorf("calls %q", l.calls)
	}
}

// TestPieces: what waits for windows arrives whole, whatever pieces it was written
// and left in.
func TestPieces(t *testing.T) {
	sizes := []int{1, 16383, 1, 16384, 40000, 3, 100_000, 16385}
	p, conn := startRaw(t, true, func(c net.Conn) *h2.Conn { return h2.NewClient(c, h2.Options{}) })
	_ = p.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	p.round()
	s, err := conn.Open(nil, &books{}, []hpack.HeaderField{{Name: ":method", Value: "PUT"}, {Name: ":path", Value: "/"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	total, value := 0, byte(0)
	for i, n := range sizes {
		piece := make([]byte, n)
		for j := range piece {
			value++
			piece[j] = value % 251
		}
		total += n
		if taken, err := s.Write(nil, piece, i == len(sizes)-1); taken > 0 || err != nil {
			t.Fatalf("%d taken, %v", taken, err)
		}
	}
	_ = p.f.WriteWindowUpdate(0, 1<<20)
	for left := total; left > 0; left -= 7001 {
		_ = p.f.WriteWindowUpdate(1, uint32(min(left, 7001)))
	}
	p.sees("END 1")
	p.mu.Lock()
	defer p.mu.Unlock()
	if value = 0; len(p.body) != total {
		t.Fatalf("%d bytes of %d", len(p.body), total)
	}
	for i, b := range p.body {
		if value++; b != value%251 {
			t.Fatalf("byte %d is another", i)
		}
	}
}
