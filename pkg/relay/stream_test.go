package relay_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/relay"
)

// TestBothWays carries little and much, both ways at once, byte for byte.
func TestBothWays(t *testing.T) {
	for _, n := range []int{0, 1, 5000, 64 << 10, 64<<10 + 1, 3 << 20, 40 << 20} {
		w := newWorld(t)
		up, down := noise(n), noise(n+7) // before anybody's time runs
		p := w.connect("hello ")
		var wg sync.WaitGroup
		for c, b := range map[*net.TCPConn][]byte{p.workload: up, p.server: down} {
			wg.Go(func() {
				_, _ = c.Write(b)
				_ = c.CloseWrite()
			})
		}
		for c, b := range map[*net.TCPConn][]byte{p.workload: down, p.server: append([]byte("hello "), up...)} {
			wg.Go(func() {
				if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, b) {
					t.Errorf("%d bytes: got %d of %d, %v", n, len(got), len(b), err)
				}
			})
		}
		wg.Wait()
		p.want(t, int64(n+6), int64(n+7))
	}
}

// TestConversation: each side waits for the other's word.
func TestConversation(t *testing.T) {
	w := newWorld(t)
	p := w.connect("")
	b := make([]byte, 100)
	for i := range 1000 {
		from, to := p.workload, p.server
		if i%2 > 0 {
			from, to = to, from
		}
		_, err := from.Write(noise(100))
		must(t, err)
		if _, err := io.ReadFull(to, b); err != nil || !bytes.Equal(b, noise(100)) {
			t.Fatal(i, err)
		}
	}
	must(t, p.server.Close())
	must(t, p.workload.CloseWrite())
	p.want(t, 50000, 50000)
}

// TestHalfClose: a side that has ended still hears what the other says, whichever
// of them ends first.
func TestHalfClose(t *testing.T) {
	byEither(t, func(t *testing.T, p *pair, first, second *net.TCPConn) {
		must(t, first.CloseWrite())
		if _, err := second.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read %v, want the end", err)
		}
		for range 3 {
			_, err := second.Write([]byte("more"))
			must(t, err)
			b := make([]byte, 4)
			if _, err := io.ReadFull(first, b); err != nil {
				t.Errorf("after the end: %v", err)
			}
		}
		must(t, second.CloseWrite())
		if _, err := first.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read %v, want the end", err)
		}
		if first == p.workload {
			p.want(t, 0, 12)
		} else {
			p.want(t, 12, 0)
		}
	})
}

// TestSlowReader: what a reader does not take stays with the writer.
func TestSlowReader(t *testing.T) {
	w := newWorld(t)
	p := w.connect("")
	must(t, p.server.SetReadBuffer(64<<10))
	must(t, p.workload.SetWriteBuffer(64<<10))
	data := noise(1 << 20)
	must(t, p.workload.SetWriteDeadline(time.Now().Add(time.Second)))
	written := 0
	for {
		n, err := p.workload.Write(data)
		if written += n; err != nil {
			break
		}
		if written > 64<<20 {
			t.Fatal("never stopped")
		}
	}
	must(t, p.workload.CloseWrite())
	if n, err := io.Copy(io.Discard, p.server); n != int64(written) || err != nil {
		t.Errorf("%d bytes came of %d, %v", n, written, err)
	}
	must(t, p.server.Close())
	p.want(t, int64(written), 0)
}

// TestUrgent: what follows urgent data is carried, also when the end does.
func TestUrgent(t *testing.T) {
	for _, end := range []bool{true, false} {
		w := newWorld(t)
		p := &pair{result: make(chan relay.Result, 1)}
		near := w.near(p)
		_, err := p.workload.Write([]byte("one"))
		must(t, err)
		must(t, urgent(p.workload, "!"))
		_, err = p.workload.Write([]byte("two"))
		must(t, err)
		if end {
			must(t, p.workload.CloseWrite())
		}
		far, err := relay.Dial(netip.Addr{}, addrOf(w.server), false, nil)
		must(t, err)
		go func() { p.result <- w.relay.Run(relay.End{Socket: near}, relay.End{Socket: far}, patience) }()
		server, err := w.server.AcceptTCP()
		must(t, err)
		must(t, server.SetDeadline(time.Now().Add(patience)))
		b := make([]byte, 6)
		if _, err := io.ReadFull(server, b); string(b) != "onetwo" || err != nil {
			t.Errorf("end %t: %q, %v", end, b, err)
		}
		must(t, server.Close())
		must(t, p.workload.Close())
		p.want(t, 6, 0)
	}
}

func urgent(c *net.TCPConn, said string) (err error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = rc.Control(func(fd uintptr) { failed = unix.Sendto(int(fd), []byte(said), unix.MSG_OOB, nil) })
	return errors.Join(err, failed)
}

// TestServerSaid: what was read from the far end before comes first.
func TestServerSaid(t *testing.T) {
	w := newWorld(t)
	p := &pair{result: make(chan relay.Result, 1)}
	near := w.near(p)
	socket, err := relay.Dial(netip.Addr{}, addrOf(w.server), false, nil)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	f, err := relay.Connected(ctx, socket)
	must(t, err)
	far, err := relay.Take(f)
	must(t, err)
	go func() {
		p.result <- w.relay.Run(relay.End{Socket: near}, relay.End{Socket: far, Said: []byte("220 ")}, patience)
	}()
	server, err := w.server.AcceptTCP()
	must(t, err)
	_, err = server.Write([]byte("ready"))
	must(t, err)
	must(t, server.Close())
	if got, err := io.ReadAll(p.workload); string(got) != "220 ready" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	must(t, p.workload.Close())
	p.want(t, 0, 9)
}
