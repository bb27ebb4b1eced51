package proxy_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/proxy"
)

// leave begins to close the proxy; the result is closed when that is.
func (w *world) leave() <-chan struct{} {
	w.t.Helper()
	must(w.t, w.ln.Close())
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if err := w.proxy.Close(); err != nil {
			w.t.Error(err)
		}
	}()
	w.t.Cleanup(func() { <-closed })
	return closed
}

// idle is a connection that has had its request.
func (w *world) idle(o *origin) net.Conn {
	w.t.Helper()
	c := w.tls(as{original: o.addr}, host)
	_, _ = io.WriteString(c, strings.Replace(plainGet, "/v1/x", "/idle", 1))
	expectRead(w.t, c, okResponse)
	return c
}

// leaves is leave, and waits for what shows that it has begun: the idle connection
// has its end.
func (w *world) leaves(idle net.Conn) {
	w.t.Helper()
	w.leave()
	if got, err := io.ReadAll(idle); err != nil || len(got) > 0 {
		w.t.Errorf("the idle connection: %q, %v; want its end", got, err)
	}
}

// halves answers in two halves: it tells of the first, and waits with the second.
func (w *world) halves(begun chan<- struct{}, goOn <-chan struct{}) *origin {
	return w.originFor(func(c net.Conn) {
		for r := newReader(c); r.request(); {
			if string(r.req.Path) == "/idle" {
				_, _ = io.WriteString(c, okResponse)
				continue
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
			begun <- struct{}{}
			<-goOn
			_, _ = io.WriteString(c, "lf")
		}
	}, host)
}

// TestDrainUnderWay: a request under way is answered in full, and so is the first
// one of a connection that had only shaken hands.
func TestDrainUnderWay(t *testing.T) {
	w := newWorld(t, func(o *options) { o.Timeouts.Drain = 5 * time.Second })
	begun, goOn := make(chan struct{}), make(chan struct{})
	o := w.halves(begun, goOn)
	w.use(policy.Intercept, w.openRoute())
	slow, fresh, idle := w.tls(as{original: o.addr}, host), w.tls(as{original: o.addr}, host), w.idle(o)
	_, _ = io.WriteString(slow, plainGet)
	<-begun
	w.leaves(idle)
	_, _ = io.WriteString(fresh, plainGet)
	<-begun
	close(goOn)
	for name, c := range map[string]net.Conn{"under way": slow, "first": fresh} {
		got, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(string(got), "\r\n\r\nhalf") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if name == "first" && !strings.Contains(string(got), "Connection: close") {
			t.Errorf("nothing says that no other request will be served: %q", got)
		}
	}
}

// TestDrainFresh: a connection made for a request that is not there yet outlasts one
// that had its requests.
func TestDrainFresh(t *testing.T) {
	w := newWorld(t, func(o *options) { o.Timeouts.Drain = 20 * time.Second })
	o := w.originFor(nil, host)
	w.use(policy.Intercept, w.openRoute())
	fresh, idle := w.tls(as{original: o.addr}, host), w.idle(o)
	w.leaves(idle)
	_, _ = io.WriteString(fresh, plainGet)
	if got, err := io.ReadAll(fresh); err != nil || !strings.HasSuffix(string(got), "\r\n\r\nok") {
		t.Errorf("%q, %v; want its answer", got, err)
	}
}

// lookups are those of flows that wait until they are let go.
type lookups struct {
	proxy.Flows
	begun, goOn chan struct{}
}

func (l lookups) Lookup(netns uint64, local, remote netip.AddrPort) (flow.Flow, bool) {
	l.begun <- struct{}{}
	<-l.goOn
	return l.Flows.Lookup(netns, local, remote)
}

// TestDrainAccepted: a connection that is accepted as the proxy begins to close is
// served: it is in no queue any more, where who comes after us would find it.
func TestDrainAccepted(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	w := newWorld(t, func(o *options) { o.Flows = lookups{o.Flows, begun, goOn} })
	o := w.originFor(nil, host)
	w.use(policy.Intercept, w.openRoute())
	answer := make(chan string, 1)
	go func() {
		c, err := w.tryTLS(as{original: o.addr}, host)
		if err != nil {
			answer <- err.Error()
			return
		}
		answer <- talk(t, c, plainGet)
	}()
	<-begun
	closed := w.leave()
	select {
	case <-closed:
		t.Error("the proxy is closed, and a connection is not served")
	case <-time.After(100 * time.Millisecond):
	}
	close(goOn)
	if got := <-answer; !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") {
		t.Errorf("the answer is %q", got)
	}
	<-closed
}

// TestDrainNext: who could not know that the connection is to end, as it had its
// answer's head before, gets the next answer too, which says so.
func TestDrainNext(t *testing.T) {
	w := newWorld(t, func(o *options) { o.Timeouts.Drain = 5 * time.Second })
	begun, goOn := make(chan struct{}, 2), make(chan struct{})
	o := w.halves(begun, goOn)
	w.use(policy.Intercept, w.openRoute())
	c, idle := w.tls(as{original: o.addr}, host), w.idle(o)
	_, _ = io.WriteString(c, plainGet)
	expectRead(t, c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
	w.leaves(idle)
	close(goOn)
	expectRead(t, c, "lf")
	_, _ = io.WriteString(c, plainGet)
	got, err := io.ReadAll(c)
	if want := "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhalf"; string(got) != want || err != nil {
		t.Errorf("the next answer is %q, %v", got, err)
	}
}

// TestDrainTunnels: what has no end of its own ends in good order when the time is
// up: a WebSocket, and TLS that is passed through. What is passed through and could
// look whole is reset.
func TestDrainTunnels(t *testing.T) {
	w := newWorld(t)
	chat := w.originFor(func(c net.Conn) {
		if newReader(c).head() {
			_, _ = io.WriteString(c, switched)
			_, _ = io.Copy(c, c)
		}
	}, host)
	echo := func(c net.Conn) { _, _ = io.Copy(c, c) }
	sealed, open := w.originFor(echo, "other.example.com"), newOrigin(t, nil, echo)
	w.use(policy.Passthrough, w.openRoute())

	ws := w.tls(as{original: chat.addr}, host)
	_, _ = io.WriteString(ws, upgrade)
	expectRead(t, ws, switched)
	through := tls.Client(w.dial(as{original: sealed.addr}), &tls.Config{ServerName: "other.example.com", RootCAs: w.partner.pool()})
	plain := w.dial(as{original: open.addr})
	for _, c := range []net.Conn{ws, through, plain} {
		_, _ = io.WriteString(c, "still here")
		expectRead(t, c, "still here")
	}
	closed := w.leave()
	for name, c := range map[string]net.Conn{"websocket": ws, "TLS passed through": through} {
		must(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s ends with %v", name, err)
		}
		_ = c.Close()
	}
	if _, err := plain.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("opaque bytes end with %v", err)
	}
	<-closed
}

// TestDrainHTTP2: GOAWAY, and the streams under way end in full.
func TestDrainHTTP2(t *testing.T) {
	w := newWorld(t, func(o *options) { o.Timeouts.Drain = 5 * time.Second })
	finish := make(chan struct{})
	o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(rw, "ha")
		rw.(http.Flusher).Flush()
		<-finish
		_, _ = io.WriteString(rw, "lf")
	}))
	w.use(policy.Intercept, w.openRoute())
	res := w.do(o, "h2", mustRequest(t, "GET", "https://"+host+"/", nil))
	w.leave()
	close(finish)
	if got, err := io.ReadAll(res.Body); err != nil || string(got) != "half" {
		t.Errorf("answer %q, %v", got, err)
	}
}

// TestSettle waits for the connections of before, and serves others meanwhile.
func TestSettle(t *testing.T) {
	w := newWorld(t)
	begun, finish := make(chan struct{}, 1), make(chan struct{})
	end := sync.OnceFunc(func() { close(finish) })
	defer end()
	o := w.originFor(func(c net.Conn) {
		for r := newReader(c); r.request(); {
			if strings.Contains(string(r.req.Target), "slow") {
				begun <- struct{}{}
				<-finish
			}
			_, _ = io.WriteString(c, okResponse)
		}
	}, host)
	w.use(policy.Intercept, w.openRoute())
	slow := w.tls(as{original: o.addr}, host)
	_, _ = io.WriteString(slow, strings.Replace(plainGet, "GET ", "GET /slow", 1))
	<-begun
	idle := w.tls(as{original: o.addr}, host)
	_, _ = io.WriteString(idle, plainGet)
	expectRead(t, idle, okResponse)
	settled := make(chan struct{})
	go func() { w.proxy.Settle(t.Context()); close(settled) }()
	if _, err := idle.Read(make([]byte, 1)); err != io.EOF { // it has begun
		t.Fatal(err)
	}
	fresh := w.tls(as{original: o.addr}, host)
	for range 2 {
		_, _ = io.WriteString(fresh, plainGet)
		expectRead(t, fresh, okResponse)
	}
	select {
	case <-settled:
		t.Error("it did not wait")
	default:
	}
	end()
	if got, err := io.ReadAll(slow); err != nil || !strings.Contains(string(got), "Connection: close") {
		t.Errorf("the connection of before: %q, %v", got, err)
	}
	<-settled
	_, _ = io.WriteString(fresh, plainGet)
	expectRead(t, fresh, okResponse)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	w.proxy.Settle(over) // whoever is still there is not waited for
}

// TestDrainAsItComes: a request whose beginning comes just as its connection is told to
// end has the time that any has.
func TestDrainAsItComes(t *testing.T) {
	w := newWorld(t)
	o := w.originFor(nil, host)
	w.use(policy.Intercept, w.openRoute())
	var all []net.Conn
	for range 100 {
		c := w.tls(as{original: o.addr}, host)
		_, _ = io.WriteString(c, plainGet)
		expectRead(t, c, okResponse)
		all = append(all, c)
	}
	for _, c := range all {
		go func() { _, _ = io.WriteString(c, beginChunks) }()
	}
	var settling sync.WaitGroup
	settling.Go(func() { w.proxy.Settle(t.Context()) })
	time.Sleep(time.Second) // longer than one that waits may go on to
	for _, c := range all {
		_, _ = io.WriteString(c, endChunks)
		if got, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 200 OK\r\n") {
			t.Errorf("%q, %v", got, err)
		}
	}
	settling.Wait()
}

// TestCloseStuck: uploads that their upstreams do not take end with the proxy, and not
// when the time for that is over.
func TestCloseStuck(t *testing.T) {
	w := newWorld(t, func(o *options) { o.Timeouts.BodyStall = time.Minute })
	over := make(chan struct{})
	o := w.originFor(func(net.Conn) { <-over }, host)
	w.use(policy.Intercept, w.openRoute())
	var stuck sync.WaitGroup
	for range 4 {
		c := w.tls(as{original: o.addr}, host)
		_, _ = io.WriteString(c, "POST /v1/x HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 1000000000\r\n\r\n")
		stuck.Go(func() {
			piece := make([]byte, 64<<10)
			for err := error(nil); err == nil; time.Sleep(time.Millisecond) { // so that each leaves before the next comes
				_, err = c.Write(piece)
			}
		})
	}
	time.Sleep(time.Second) // the buffers on the way are full by then
	closed := w.leave()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("the proxy is not closed")
	}
	close(over)
	stuck.Wait()
}
