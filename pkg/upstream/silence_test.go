package upstream

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// script is an origin that answers one request with what it is told to, then
// says more when told.
func script(response string, more <-chan string) func(net.Conn) {
	return func(c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, response)
		for s := range more {
			if s == "" {
				return
			}
			_, _ = io.WriteString(c, s)
		}
		_, _ = r.ReadByte()
	}
}

// TestIdleConnectionsMustBeSilent is T20: a response that nobody asked for, or a
// close, ends an idle connection before it serves another request.
func TestIdleConnectionsMustBeSilent(t *testing.T) {
	tests := []struct {
		name, response string
		read           int // how much of it the workload's side takes
		more           []string
	}{
		{"poison later", okResponse, len(okResponse), []string{okResponse}},
		{"one byte later", okResponse, len(okResponse), []string{"x"}},
		{"poison in the same record", okResponse + okResponse, len(okResponse), nil},
		{"closed by the peer", okResponse, len(okResponse), []string{""}},
	}
	for _, cleartext := range []bool{false, true} {
		for _, tt := range tests {
			more := make(chan string, 1)
			o, root := secure(t, &origin{serve: script(tt.response, more)})
			to := target(o, root.pool())
			if cleartext {
				o.stop()
				o = newOrigin(t, &origin{serve: script(tt.response, more)})
				to = plain(o, &Profile{AllowPrivate: true})
			}
			p := newPool(t, Options{})
			c := mustGet(t, p, to)
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if _, err := io.ReadFull(c, make([]byte, tt.read)); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			p.Put(c)
			for _, s := range tt.more {
				more <- s
			}
			close(more)
			if len(tt.more) > 0 {
				waitReadable(t, c)
			}
			if got := mustGet(t, p, to); got == c {
				t.Errorf("%s (cleartext %v): reused", tt.name, cleartext)
			} else {
				_ = got.Close()
			}
			if s := p.Stats(); s.Stale != 1 || s.Idle != 0 {
				t.Errorf("%s (cleartext %v): stats %+v", tt.name, cleartext, s)
			}
			o.stop()
		}
	}
}

// waitReadable waits for what the peer sent to arrive, without reading it.
func waitReadable(t *testing.T, c *Conn) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); c.wire.Silent(); {
		if time.Now().After(deadline) {
			t.Fatal("nothing came")
		}
		time.Sleep(time.Millisecond)
	}
}

// TestPoisonInsideTLS: a second record that crypto/tls read from the socket along
// with the response is found, though the socket itself is silent.
func TestPoisonInsideTLS(t *testing.T) {
	done := make(chan struct{})
	o, root := secure(t, &origin{serve: func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		cork(t, c, 1)
		for range 2 { // two records in one segment
			_, _ = io.WriteString(c, okResponse)
		}
		cork(t, c, 0)
		<-done
	}})
	defer close(done)
	p := newPool(t, Options{})
	to := target(o, root.pool())
	c := mustGet(t, p, to)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if n, err := c.Read(make([]byte, 4096)); n != len(okResponse) || err != nil {
		t.Fatalf("read %d, %v", n, err)
	}
	if !c.wire.Silent() {
		t.Fatal("the second record is still in the socket: not what this test is about")
	}
	p.Put(c)
	if got := mustGet(t, p, to); got == c {
		t.Error("reused")
	} else {
		_ = got.Close()
	}
}

// cork holds small segments back (tcp(7)).
func cork(t *testing.T, c net.Conn, on int) {
	tcp := c.(*counting).Conn.(*tls.Conn).NetConn().(*net.TCPConn)
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Error(err)
		return
	}
	if err := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, on) }); err != nil {
		t.Error(err)
	}
}

// TestLateTicketsAreNotPoison: TLS 1.3 messages after the response leave the
// connection fit.
func TestLateTicketsAreNotPoison(t *testing.T) {
	m := newMutual(t, tls.VersionTLS13) // its tickets follow the client's certificate
	p := newPool(t, Options{})
	to := m.with(&m.client)
	c := mustGet(t, p, to)
	waitReadable(t, c)
	p.Put(c)
	if got := mustGet(t, p, to); got != c {
		t.Error("tickets were taken for application data")
	}
	exchange(t, c)
	p.Put(c)
	if got := mustGet(t, p, to); got != c || p.Stats().Stale != 0 {
		t.Error("not reused after an exchange")
	}
	_ = c.Close()
}

func TestHungUpConnectionsAreSwept(t *testing.T) {
	more := make(chan string)
	o, root := secure(t, &origin{serve: script(okResponse, more)})
	p := newPool(t, Options{})
	c := mustGet(t, p, target(o, root.pool()))
	exchange(t, c)
	if p.Put(c); c.wire.HungUp() {
		t.Error("an open connection counts as hung up")
	}
	close(more)
	o.stop()
	waitReadable(t, c)
	p.sweep()
	if s := p.Stats(); s.Idle != 0 {
		t.Errorf("%d idle after the peer closed", s.Idle)
	}
}

func TestCloseWriteEndsOurDirection(t *testing.T) {
	tail := func(c net.Conn) {
		if b, err := io.ReadAll(c); err == nil {
			_, _ = c.Write(b)
		}
	}
	o, root := secure(t, &origin{serve: tail})
	clear := newOrigin(t, &origin{serve: tail})
	p := newPool(t, Options{})
	for _, to := range []Target{target(o, root.pool()), plain(clear, &Profile{AllowPrivate: true})} {
		c := mustGet(t, p, to)
		_, _ = io.WriteString(c, "all of it")
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); err != nil || string(b) != "all of it" {
			t.Errorf("cleartext %v: %q, %v", to.Cleartext, b, err)
		}
		if (c.TCP() != nil) != to.Cleartext {
			t.Errorf("cleartext %v: TCP() is %v", to.Cleartext, c.TCP())
		}
		_ = c.Close()
	}
}
