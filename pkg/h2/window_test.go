package h2_test

import (
	"net"
	"testing"

	"github.com/outwarden/outwarden/pkg/h2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const base, growth = 64 << 10, 200 << 10

// grower is an origin and a client whose windows may grow.
func grower(t *testing.T) (*peer, *h2.Conn) {
	p, conn := startRaw(t, true, func(c net.Conn) *h2.Conn {
		return h2.NewClient(c, h2.Options{StreamWindow: base, Growth: growth})
	})
	_ = p.f.WriteSettings()
	return p, conn
}

// stream opens one and sends on it, up to a MiB, what its window allows.
func (p *peer) stream(conn *h2.Conn, id uint32, h h2.Handler) (sent int) {
	_, err := conn.Open(nil, h, []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":path", Value: "/"}}, true)
	if err != nil {
		p.t.Fatal(err)
	}
	p.head(id, false, ":status", "200")
	for sent < 1<<20 && base+p.opened(id) > sent {
		n := min(base+p.opened(id)-sent, 16<<10)
		_ = p.f.WriteData(id, false, make([]byte, n))
		sent += n
		p.round()
	}
	return sent
}

// TestGrowth: the window of a stream that is consumed as it comes grows to what
// the options allow, and that of one that is not does not.
func TestGrowth(t *testing.T) {
	p, conn := grower(t)
	sent := p.stream(conn, 1, &books{})
	if ahead := p.opened(1) - sent; sent < 1<<20 || ahead <= 0 || ahead > growth {
		t.Errorf("%d bytes sent, the window %d ahead", sent, ahead)
	}
	if sent := p.stream(conn, 3, &hoarder{}); sent != base || p.opened(3) != 0 {
		t.Errorf("%d bytes sent and none consumed, window opened by %d", sent, p.opened(3))
	}
}

// TestGrowthEnds: what one window has grown by, another may when it has ended.
func TestGrowthEnds(t *testing.T) {
	p, conn := grower(t)
	for id := uint32(1); id < 10; id += 2 {
		if sent := p.stream(conn, id, &books{}); p.opened(id) <= sent {
			t.Errorf("stream %d: %d bytes sent, opened by %d", id, sent, p.opened(id))
		}
		_ = p.f.WriteRSTStream(id, http2.ErrCodeCancel)
	}
}
