package relay_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/relay"
)

// TestBrokenSide: a reset is passed on as one, also behind bytes that look whole.
func TestBrokenSide(t *testing.T) {
	byEither(t, func(t *testing.T, p *pair, broken, other *net.TCPConn) {
		_, err := broken.Write([]byte("half a mess"))
		must(t, err)
		_, err = io.ReadFull(other, make([]byte, 11))
		must(t, err)
		must(t, broken.SetLinger(0))
		must(t, broken.Close())
		wantBroken(t, other)
		if r := <-p.result; !errors.Is(r.Err, syscall.ECONNRESET) || r.Sent+r.Received != 11 {
			t.Errorf("%+v", r)
		}
	})
}

// TestGoneAfterItsEnd: a side that has said all and is gone ends the connection. The
// other hears of it when it says something more.
func TestGoneAfterItsEnd(t *testing.T) {
	byEither(t, func(t *testing.T, p *pair, gone, other *net.TCPConn) {
		must(t, gone.CloseWrite())
		if _, err := other.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read %v, want the end", err)
		}
		must(t, gone.SetLinger(0))
		must(t, gone.Close())
		p.want(t, 0, 0)
		var err error
		for err == nil {
			_, err = other.Write([]byte("more"))
		}
		if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("wrote %v, want a reset", err)
		}
	})
}

// TestGoneUnseen: the same for a side whose leave shows only by its answer to what the
// other says.
func TestGoneUnseen(t *testing.T) {
	w := newWorld(t)
	p := w.connect("")
	must(t, p.server.Close())
	if _, err := p.workload.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read %v, want the end", err)
	}
	_, err := p.workload.Write([]byte("goodbye"))
	must(t, err)
	p.want(t, 7, 0)
}

// TestNoServer: refused, or no answer in time; the workload is reset.
func TestNoServer(t *testing.T) {
	silent, full := silentServer(t)
	for name, c := range map[string]struct {
		to   netip.AddrPort
		want error
	}{
		"refused":   {deadAddr(t), syscall.ECONNREFUSED},
		"no answer": {silent, os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := &pair{}
			near := w.near(p)
			far, err := relay.Dial(netip.Addr{}, c.to, false, nil)
			if err != nil { // loopback may tell at once
				relay.End{Socket: near}.Reset()
			} else {
				r := w.relay.Run(relay.End{Socket: near, Said: []byte("x")}, relay.End{Socket: far}, 100*time.Millisecond)
				if err = r.Err; r.Connected || r.Sent > 0 {
					t.Errorf("%+v", r)
				}
			}
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			wantBroken(t, p.workload)
		})
		t.Run(name+", awaited", func(t *testing.T) {
			far, err := relay.Dial(netip.Addr{}, c.to, false, nil)
			if err == nil {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				_, err = relay.Connected(ctx, far)
			}
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	full()
}

// deadAddr is where nobody listens.
func deadAddr(t testing.TB) netip.AddrPort {
	t.Helper()
	l := listen(t)
	must(t, l.Close())
	return addrOf(l)
}

// silentServer has a full backlog, so that a SYN gets no answer.
func silentServer(t testing.TB) (_ netip.AddrPort, end func()) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	must(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, unix.Listen(fd, 0))
	name, err := unix.Getsockname(fd)
	must(t, err)
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(name.(*unix.SockaddrInet4).Port))
	c, err := net.Dial("tcp", addr.String())
	must(t, err)
	return addr, func() {
		_ = c.Close()
		_ = unix.Close(fd)
	}
}

// TestLasting: a connection that lasts gets probes towards the far end, so that
// one that has vanished is noticed.
func TestLasting(t *testing.T) {
	w := newWorld(t)
	p, far := w.lasting("x")
	_, err := io.ReadFull(p.server, make([]byte, 1))
	must(t, err)
	for end, on := time.Now().Add(patience), 0; on == 0; time.Sleep(time.Millisecond) {
		on, err = unix.GetsockoptInt(far, unix.SOL_SOCKET, unix.SO_KEEPALIVE)
		must(t, err)
		if time.Now().After(end) {
			t.Fatal("no probes")
		}
	}
	must(t, p.server.Close())
	must(t, p.workload.Close())
	p.want(t, 1, 0)
}
