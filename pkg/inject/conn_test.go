package inject

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/h2"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// dialled is a connection in clear text to a listener of the test, and what it gets.
func dialled(t *testing.T) (Conn, <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := netip.MustParseAddrPort(l.Addr().String())
	pool := upstream.NewPool(upstream.Options{})
	t.Cleanup(pool.Close)
	c, err := Over(pool).Dial(t.Context(), &upstream.Target{
		Key: upstream.Key{Host: "api.partner.example", Port: at.Port(), Addr: at.Addr()}, Cleartext: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(server)
		_ = server.Close()
		got <- string(all)
	}()
	return c, got
}

// TestOnlySealedRequestsAreSent: not a zero one, nor one that was judged for
// another connection.
func TestOnlySealedRequestsAreSent(t *testing.T) {
	c, got := dialled(t)
	other, _ := dialled(t)
	defer other.Close()
	foreign, err := Anonymous(other, request("/foreign"))
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]Sealed{"zero": {}, "for another": foreign, "made up": {head: Head{Bytes: []byte("x")}}} {
		if rest, n, err := c.Send(s); !errors.Is(err, ErrPermit) || rest != nil || n != 0 {
			t.Errorf("%s: %v, %d bytes sent", name, err, n)
		}
		if to, err := c.Open(&h2.Batch{}, nil, s, true); !errors.Is(err, ErrPermit) || to != nil {
			t.Errorf("%s: a stream, %v", name, err)
		}
	}
	own, err := Anonymous(c, request("/own"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Send(own); err != nil {
		t.Error(err)
	}
	_ = c.Close()
	if sent := <-got; sent != "POST /own" {
		t.Errorf("sent %q", sent)
	}
}

// TestAnonymousIsNobody: what carries nothing of ours does not go where it would
// be taken for us.
func TestAnonymousIsNobody(t *testing.T) {
	c, _ := dialled(t)
	defer c.Close()
	plain := *c.Facts()
	for name, edit := range map[string]func(*upstream.Facts){
		"credential":  func(f *upstream.Facts) { f.Key.Credentials = "bearer" },
		"certificate": func(f *upstream.Facts) { f.ClientCert = [32]byte{1} },
		"egress IP":   func(f *upstream.Facts) { f.EgressIP = netip.MustParseAddr("198.51.100.20") },
	} {
		*c.Facts() = plain
		edit(c.Facts())
		if s, err := Anonymous(c, request("/")); !errors.Is(err, flow.ReasonPoolMismatch) || s.on != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
