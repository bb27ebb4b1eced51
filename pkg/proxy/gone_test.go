package proxy_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/policy"
)

const beginEvents = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"

// lookOften is for tests that wait for somebody to be missed.
func lookOften(o *options) {
	o.Timeouts.Look, o.Timeouts.Response, o.Timeouts.BodyStall = 50*time.Millisecond, time.Minute, time.Minute
}

// TestWorkloadLeaves: who leaves while its upstream takes its time is missed at once: the
// upstream sees it as it would without us, nothing is asked again, and the record says who
// it was.
func TestWorkloadLeaves(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		events  bool // the answer has begun
		leave   func(*tls.Conn)
		status  int
	}{
		"reset":                    {request: plainGet, leave: resets},
		"closed":                   {request: plainGet, leave: func(c *tls.Conn) { _ = c.Close() }},
		"killed":                   {request: plainGet, leave: func(c *tls.Conn) { _ = c.NetConn().Close() }},
		"reset behind an upload":   {request: beginChunks + endChunks, leave: resets},
		"reset in an event stream": {request: plainGet, events: true, leave: resets, status: 200},
		"left an event stream":     {request: plainGet, events: true, leave: func(c *tls.Conn) { _ = c.Close() }, status: 200},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, lookOften)
			ended := make(chan struct{})
			o := w.originFor(func(conn net.Conn) { // the second request is not answered
				r := newReader(conn)
				if !r.request() {
					return
				}
				_, _ = io.WriteString(conn, okResponse)
				if !r.request() {
					return
				}
				if c.events {
					_, _ = io.WriteString(conn, beginEvents)
				}
				_, _ = io.Copy(io.Discard, conn)
				close(ended)
			}, host)
			w.use(policy.Intercept, w.partnerRoute())
			conn := w.tls(as{original: o.addr}, host)
			_, _ = io.WriteString(conn, plainGet)
			expectRead(t, conn, okResponse)
			w.awaitKind("request", 1)
			w.records.forget()
			_, _ = io.WriteString(conn, c.request)
			if c.events {
				expectRead(t, conn, beginEvents)
			}
			w.awaitKind("credential", 1)
			c.leave(conn)
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Fatal("the upstream works on for nobody")
			}
			if r := w.request(); r.Reason != "workload_closed" || r.Status != c.status {
				t.Errorf("record %+v", r)
			}
			w.quiet()
			if n := bytes.Count(o.got(), []byte(" /v1/x ")); n != 2 {
				t.Errorf("%d requests at the origin, want 2", n)
			}
		})
	}
}

func resets(c *tls.Conn) {
	_ = c.NetConn().(*net.TCPConn).SetLinger(0)
	_ = c.NetConn().Close()
}

// TestWorkloadLeavesItsTunnel: so it is behind an upgrade, whose upstream may never end.
func TestWorkloadLeavesItsTunnel(t *testing.T) {
	w := newWorld(t, lookOften)
	ended := make(chan struct{})
	o := w.originFor(func(c net.Conn) {
		r := newReader(c)
		if !r.head() {
			return
		}
		_, _ = io.WriteString(c, switched)
		_, _ = io.Copy(io.Discard, c)                     // to the end of what the workload says,
		_, _ = io.Copy(io.Discard, c.(*tapped).NetConn()) // and of the connection
		close(ended)
	}, host)
	w.use(policy.Intercept, w.openRoute())
	c := w.tls(as{original: o.addr}, host)
	_, _ = io.WriteString(c, upgrade)
	expectRead(t, c, switched)
	_ = c.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the tunnel stays for nobody")
	}
	if r := w.request(); r.Reason != "workload_closed" || r.Status != 101 {
		t.Errorf("record %+v", r)
	}
}

// TestWorkloadClosesClearText: in clear text, who has closed is told from who has just ended
// his side by what his kernel says.
func TestWorkloadClosesClearText(t *testing.T) {
	w := newWorld(t, lookOften)
	w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	begun := make(chan struct{})
	o := newOrigin(t, nil, func(c net.Conn) {
		if newReader(c).request() {
			close(begun)
		}
		_, _ = io.Copy(io.Discard, c)
	})
	w.use(policy.Intercept, w.openRoute())
	c := w.dial(as{original: o.addr})
	forgetSoon(t, c)
	_, _ = io.WriteString(c, plainGet)
	<-begun
	_ = c.Close()
	for end := time.Now().Add(30 * time.Second); w.proxy.Open() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the upstream works on for nobody")
		}
	}
	if r := w.request(); r.Reason != "workload_closed" {
		t.Errorf("record %+v", r)
	}
}

// forgetSoon has the kernel remember the connection for a second and not a minute when it
// is closed.
func forgetSoon(t *testing.T, c *net.TCPConn) {
	t.Helper()
	rc, err := c.SyscallConn()
	must(t, err)
	must(t, rc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_LINGER2, 1) }))
	must(t, err)
}

// TestWorkloadListens: who has ended no more than its own side gets its answer, however
// long that takes.
func TestWorkloadListens(t *testing.T) {
	for name, secure := range map[string]bool{"TLS": true, "clear text": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, lookOften)
			serve := func(c net.Conn) {
				if newReader(c).request() {
					time.Sleep(time.Second) // that is how slow it is
					_, _ = io.WriteString(c, okResponse)
				}
			}
			w.use(policy.Intercept, w.openRoute())
			var got string
			if secure {
				got = w.say(w.originFor(serve, host), plainGet)
			} else {
				w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
				got = talk(t, w.dial(as{original: newOrigin(t, nil, serve).addr}), plainGet)
			}
			if !strings.Contains(got, okResponse) {
				t.Errorf("answer %q", got)
			}
		})
	}
}
