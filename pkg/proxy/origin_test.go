package proxy_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/outwarden/outwarden/pkg/http1"
)

// origin is a server on loopback that keeps every byte its application got.
type origin struct {
	addr   netip.AddrPort
	config *tls.Config // nil: clear text
	silent bool        // keeps nothing of what it got
	serve  func(net.Conn)

	ln net.Listener
	wg sync.WaitGroup

	mu       sync.Mutex
	received []byte
	conns    int // connections accepted, handshake or not
	open     []net.Conn
	stopped  bool
}

// newOrigin starts an origin that serves each connection with serve; nil
// answers every HTTP/1 request with "ok".
func newOrigin(t testing.TB, config *tls.Config, serve func(net.Conn)) *origin {
	t.Helper()
	return newOriginAt(t, "127.0.0.1:0", config, serve)
}

func newOriginAt(t testing.TB, address string, config *tls.Config, serve func(net.Conn)) *origin {
	t.Helper()
	if serve == nil {
		serve = answerOK
	}
	ln, err := net.Listen("tcp", address)
	must(t, err)
	o := &origin{addr: netip.MustParseAddrPort(ln.Addr().String()), config: config, serve: serve, ln: ln}
	o.wg.Go(o.accept)
	t.Cleanup(o.stop)
	return o
}

func (o *origin) stop() {
	_ = o.ln.Close()
	o.mu.Lock()
	o.stopped = true
	for _, c := range o.open {
		_ = c.Close()
	}
	o.mu.Unlock()
	o.wg.Wait()
}

// settle waits until the origin has read all that was sent to it.
func (o *origin) settle(w *world) {
	w.pool.Retire()
	_ = o.ln.Close()
	o.wg.Wait()
}

func (o *origin) accept() {
	for {
		c, err := o.ln.Accept()
		if err != nil {
			return
		}
		o.mu.Lock()
		o.conns++
		o.open = append(o.open, c)
		stopped := o.stopped
		o.mu.Unlock()
		if stopped { // accepted just before
			_ = c.Close()
			return
		}
		o.wg.Go(func() { o.handle(c) })
	}
}

func (o *origin) handle(c net.Conn) {
	defer c.Close()
	if config := o.settings(); config != nil {
		server := tls.Server(c, config)
		if server.Handshake() != nil {
			return
		}
		c = server
	}
	if o.silent {
		o.serve(c)
		return
	}
	o.serve(&tapped{c, o})
}

func (o *origin) settings() *tls.Config {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.config
}

// become changes the protocols that later connections may have.
func (o *origin) become(protocols []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.config = o.config.Clone()
	o.config.NextProtos = protocols
}

// tapped notes what is read from it.
type tapped struct {
	net.Conn
	o *origin
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.o.mu.Lock()
	c.o.received = append(c.o.received, p[:n]...)
	c.o.mu.Unlock()
	return n, err
}

// protocol is what was agreed on by ALPN.
func (c *tapped) protocol() string {
	return c.Conn.(*tls.Conn).ConnectionState().NegotiatedProtocol
}

// NetConn is what lies beneath TLS.
func (c *tapped) NetConn() net.Conn { return c.Conn.(*tls.Conn).NetConn() }

func (c *tapped) CloseWrite() error { return c.Conn.(interface{ CloseWrite() error }).CloseWrite() }

// got is what the application received on all connections, in order of arrival.
func (o *origin) got() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.received)
}

// accepted is how many connections came.
func (o *origin) accepted() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.conns
}

const okResponse = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func answerOK(c net.Conn) { answer(okResponse)(c) }

// answerEarly sends one response as soon as the first head is here.
func answerEarly(response string) func(net.Conn) {
	return func(c net.Conn) {
		if newReader(c).head() {
			_, _ = io.WriteString(c, response)
		}
		_, _ = io.Copy(io.Discard, c)
	}
}

// headOrigin hands out the head of the first request, answers that, and gives back
// what comes behind.
func (w *world) headOrigin(response string) (*origin, <-chan string) {
	heads := make(chan string, 1)
	return w.originFor(func(c net.Conn) {
		r := newReader(c)
		if !r.head() {
			return
		}
		heads <- string(r.req.Head)
		_, _ = io.WriteString(c, response)
		_, _ = io.Copy(c, c)
	}, host), heads
}

// answer sends one response to every whole request.
func answer(response string) func(net.Conn) {
	return func(c net.Conn) {
		for r := newReader(c); ; {
			if !r.request() {
				return
			}
			if _, err := io.WriteString(c, response); err != nil {
				return
			}
		}
	}
}

// reader takes whole requests off a connection.
type reader struct {
	c   net.Conn
	buf []byte
	req http1.Request
}

func newReader(c net.Conn) *reader { return &reader{c: c} }

// head reads the next head, and leaves what follows it unread.
func (r *reader) head() bool {
	for {
		n, err := r.req.Parse(r.buf)
		if err != nil {
			return false
		}
		if n > 0 {
			r.buf = bytes.Clone(r.buf[n:])
			return true
		}
		if !r.more() {
			return false
		}
	}
}

// request reads the next head and its content.
func (r *reader) request() bool {
	if !r.head() {
		return false
	}
	var body http1.Body
	body.Reset(r.req.Body, r.req.Length)
	for {
		n, done, err := body.Scan(r.buf, nil)
		r.buf = r.buf[n:]
		if err != nil || done {
			return err == nil
		}
		if !r.more() {
			return false
		}
	}
}

func (r *reader) more() bool {
	buf := make([]byte, 32<<10)
	n, _ := r.c.Read(buf)
	r.buf = append(bytes.Clone(r.buf), buf[:n]...)
	return n > 0
}

// newForgetfulOrigin answers "ok" in clear text to every request and keeps
// nothing of it, for tests of what piles up.
func newForgetfulOrigin(t testing.TB) netip.AddrPort {
	t.Helper()
	return forgetful(t, answerOK)
}

// forgetful serves every connection and remembers none that has ended.
func forgetful(t testing.TB, serve func(net.Conn)) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var open sync.Map
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			open.Store(c, nil)
			all.Go(func() {
				defer open.Delete(c)
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		open.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
		all.Wait()
	})
	return netip.MustParseAddrPort(ln.Addr().String())
}
