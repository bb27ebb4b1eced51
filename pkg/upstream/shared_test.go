package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/h2"
)

// h2origin speaks HTTP/2 by the library, with a handler.
func h2origin(t *testing.T, streams uint32, handler http.HandlerFunc) (*origin, Target) {
	t.Helper()
	o, root := secure(t, &origin{serve: func(c net.Conn) {
		(&http2.Server{MaxConcurrentStreams: streams}).ServeConn(c, &http2.ServeConnOpts{Handler: handler})
	}})
	return o, target(o, root.pool(), func(t *Target) { t.ALPN = []string{"h2", "http/1.1"} })
}

// gets gathers one response.
type gets struct {
	body []byte
	done chan error
}

func (g *gets) Handle(s *h2.Stream, e *h2.Event) {
	switch e.Kind {
	case h2.Data:
		g.body = append(g.body, e.Data...)
		s.Consumed(e.Batch, len(e.Data))
	case h2.Trailers:
		for _, f := range e.Fields {
			if f.Name == "grpc-status" {
				g.body = append(g.body, f.Value...)
			}
		}
	case h2.Closed:
		g.done <- e.Err
	}
	if e.End {
		g.done <- nil
	}
}

func get(c *Conn) (string, error) {
	g := &gets{done: make(chan error, 1)}
	_, err := c.H2().Open(nil, g, []hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: testHost}, {Name: ":path", Value: "/path"},
	}, true)
	if err != nil {
		return "", err
	}
	err = <-g.done
	return string(g.body), err
}

func TestH2IsShared(t *testing.T) {
	o, to := h2origin(t, 100, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = io.WriteString(w, r.Header.Get("Accept-Encoding")+r.Host)
		w.Header().Set("Grpc-Status", "0")
	})
	p := newPool(t, Options{})
	first := mustGet(t, p, to)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			c := mustGet(t, p, to)
			if c != first || c.Facts.ALPN != "h2" || !c.Facts.Verified() {
				t.Errorf("another connection: %+v", c.Facts)
			}
			if got, err := get(c); err != nil || got != testHost+"0" {
				t.Errorf("got %q, %v", got, err)
			}
			p.Put(c)
		})
	}
	wg.Wait()
	p.Put(first)
	if o.conns.Load() != 1 || p.Stats().Reuses != 50 {
		t.Errorf("%d connections, stats %+v", o.conns.Load(), p.Stats())
	}
	h1 := to
	h1.ALPN = []string{"http/1.1"}
	c := mustGet(t, p, h1)
	if c == first || c.H2() != nil {
		t.Error("who offers http/1.1 got h2")
	}
	_ = c.Close()
}

// TestH2BurstMakesOneConnection: once an upstream is known to speak h2, those who
// come while it is dialled wait for that connection.
func TestH2BurstMakesOneConnection(t *testing.T) {
	o, to := h2origin(t, 100, func(http.ResponseWriter, *http.Request) {})
	p := newPool(t, Options{})
	_ = mustGet(t, p, to).Close()
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			c, err := p.Get(context.Background(), &to)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := get(c); err != nil {
				t.Error(err)
			}
			p.Put(c)
		})
	}
	wg.Wait()
	if n := o.conns.Load(); n != 2 {
		t.Errorf("%d connections, want the first and one for the burst", n)
	}
}

func TestH2BurstSharesTheFailure(t *testing.T) {
	o, to := h2origin(t, 100, func(http.ResponseWriter, *http.Request) {})
	p := newPool(t, Options{})
	_ = mustGet(t, p, to).Close()
	o.stop()
	if _, err := p.Get(context.Background(), &to); err == nil {
		t.Error("connected to nobody")
	}
}

// TestH2StreamLimit: no more streams are opened on a connection than the peer
// allows; the next one gets a connection of its own.
func TestH2StreamLimit(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{}, 8)
	o, to := h2origin(t, 2, func(http.ResponseWriter, *http.Request) { entered <- struct{}{}; <-release })
	p := newPool(t, Options{})
	warm := mustGet(t, p, to)
	go func() { <-entered; release <- struct{}{} }()
	if _, err := get(warm); err != nil {
		t.Fatal(err)
	}
	p.Put(warm)
	for warm.H2().Room() < 2 { // the stream stands until its end has been told
		time.Sleep(time.Millisecond)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		c := mustGet(t, p, to)
		if (c == warm) != (i < 2) {
			t.Errorf("stream %d: warm connection %v", i, c == warm)
		}
		wg.Go(func() {
			if _, err := get(c); err != nil {
				t.Error(err)
			}
			p.Put(c)
		})
		<-entered
	}
	close(release)
	wg.Wait()
	if o.conns.Load() != 2 {
		t.Errorf("%d connections for 4 streams, two each", o.conns.Load())
	}
}

// TestH2GoAway: an upstream that says GOAWAY finishes what it took and gets
// nothing new.
func TestH2GoAway(t *testing.T) {
	const lastStream = 1
	goAway := make(chan struct{})
	root := newCA(t, recipe{cn: "root"}, nil)
	o := &origin{config: &tls.Config{Certificates: []tls.Certificate{root.leaf(t, recipe{})}, NextProtos: []string{"h2"}}}
	o.serve = func(c net.Conn) { serveThenGoAway(c, goAway, lastStream) }
	newOrigin(t, o)
	to := target(o, root.pool(), func(t *Target) { t.ALPN = []string{"h2"} })
	p := newPool(t, Options{})
	c := mustGet(t, p, to)
	answered := make(chan error, 1)
	go func() {
		_, err := get(c)
		answered <- err
	}()
	close(goAway)
	for c.H2().Alive() {
		time.Sleep(time.Millisecond)
	}
	next := mustGet(t, p, to)
	if next == c {
		t.Error("a connection that is going away took another request")
	}
	if err := <-answered; err != nil {
		t.Errorf("the stream it had taken: %v", err)
	}
	p.Put(c)
	p.mu.Lock()
	known := len(p.buckets[bucketKey{Key: to.Key}].shared)
	p.mu.Unlock()
	if known != 1 {
		t.Errorf("%d shared connections, want the next one only", known)
	}
	_ = next.Close()
}

// serveThenGoAway answers the first request after it has said GOAWAY.
func serveThenGoAway(c net.Conn, goAway <-chan struct{}, last uint32) {
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	fr := http2.NewFramer(c, c)
	_ = fr.WriteSettings()
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		if h, ok := f.(*http2.HeadersFrame); ok && h.StreamID == last {
			<-goAway
			_ = fr.WriteGoAway(last, http2.ErrCodeNo, nil)
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: last, BlockFragment: status200(), EndHeaders: true, EndStream: true})
		}
	}
}

func status200() []byte {
	var b bytes.Buffer
	_ = hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	return b.Bytes()
}

func TestH2RetireLetsStreamsFinish(t *testing.T) {
	release := make(chan struct{})
	var served atomic.Int32
	o, to := h2origin(t, 100, func(http.ResponseWriter, *http.Request) { served.Add(1); <-release })
	p := newPool(t, Options{})
	old := mustGet(t, p, to)
	answered := make(chan error, 1)
	go func() { _, err := get(old); answered <- err }()
	for served.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	p.Retire()
	next := mustGet(t, p, to)
	if next == old || o.conns.Load() != 2 {
		t.Error("a connection of before is used after Retire")
	}
	close(release)
	if err := <-answered; err != nil {
		t.Errorf("the stream of before: %v", err)
	}
	if p.Put(old); old.H2().Alive() {
		t.Error("retired and unused, but open")
	}
	_ = next.Close()
}

// TestH2CloseSparesOthers: one caller's Close ends the connection for newcomers,
// not for the streams that run on it.
func TestH2CloseSparesOthers(t *testing.T) {
	_, to := h2origin(t, 100, func(http.ResponseWriter, *http.Request) {})
	p := newPool(t, Options{})
	a, b := mustGet(t, p, to), mustGet(t, p, to)
	if a != b {
		t.Fatal("not shared")
	}
	_ = a.Close()
	if _, err := get(b); err != nil {
		t.Errorf("the other's stream: %v", err)
	}
	if c := mustGet(t, p, to); c == b {
		t.Error("a newcomer joined a closed connection")
	} else {
		_ = c.Close()
	}
	if p.Put(b); b.H2().Alive() {
		t.Error("nobody uses it, but it is open")
	}
	p.Put(b) // one too many changes nothing
}

// TestH2DeadConnectionIsReplaced: one that died before its first request is not
// handed out for ever.
func TestH2DeadConnectionIsReplaced(t *testing.T) {
	o, to := h2origin(t, 100, func(http.ResponseWriter, *http.Request) {})
	p := newPool(t, Options{})
	dead := mustGet(t, p, to)
	p.Put(dead)
	o.mu.Lock()
	_ = o.open[0].Close()
	o.mu.Unlock()
	for dead.H2().Alive() {
		time.Sleep(time.Millisecond)
	}
	c := mustGet(t, p, to)
	defer c.Close()
	if _, err := get(c); err != nil || c == dead {
		t.Errorf("%v, same connection %v", err, c == dead)
	}
}

// TestH2DeadHostShowsSoon: many streams wait for one connection, so the kernel is
// told to give up before it would by itself.
func TestH2DeadHostShowsSoon(t *testing.T) {
	_, to := h2origin(t, 100, func(http.ResponseWriter, *http.Request) {})
	c := mustGet(t, newPool(t, Options{}), to)
	defer c.Close()
	raw, err := c.wire.TCP().SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	_ = raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) })
	if err != nil || time.Duration(got)*time.Millisecond != unheard {
		t.Errorf("TCP_USER_TIMEOUT is %d ms, %v", got, err)
	}
}

func TestErrorsName(t *testing.T) {
	e := &Error{Host: testHost, Reason: 40, Err: errors.New("cause")}
	if want := fmt.Sprintf("connect to %s: %s: cause", testHost, e.Reason); e.Error() != want {
		t.Errorf("got %q, want %q", e, want)
	}
}

// TestH2IdleConnectionsAreBounded: an upstream that takes one stream at a time is given
// many connections, and they do not stay when their streams have ended.
func TestH2IdleConnectionsAreBounded(t *testing.T) {
	o, to := h2origin(t, 1, func(http.ResponseWriter, *http.Request) {})
	p := newPool(t, Options{Limits: Limits{Idle: 3}})
	var all []*Conn
	for range 10 {
		c := mustGet(t, p, to)
		if _, err := get(c); err != nil { // its SETTINGS have come
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if n := o.conns.Load(); n != 10 || p.Stats().Idle != 0 {
		t.Fatalf("%d connections, stats %+v", n, p.Stats())
	}
	for _, c := range all {
		p.Put(c)
	}
	open := 0
	for _, c := range all {
		if c.H2().Alive() {
			open++
		}
	}
	if s := p.Stats(); open != 3 || s.Idle != 3 {
		t.Errorf("%d of them are open, stats %+v", open, s)
	}
	if _, err := get(mustGet(t, p, to)); err != nil || p.Stats().Idle != 2 || o.conns.Load() != 10 {
		t.Errorf("%v, %d connections, stats %+v", err, o.conns.Load(), p.Stats())
	}
	p.Retire()
	if n := p.Stats().Idle; n != 0 {
		t.Errorf("%d idle", n)
	}
}
