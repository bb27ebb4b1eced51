package proxy_test

import (
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/policy"
)

// TestStreamsThatStall: whoever lets the other wait is given up, and the record
// says who it was; the connections go on.
func TestStreamsThatStall(t *testing.T) {
	large := make([]byte, 400<<10)
	shut := http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}
	for name, c := range map[string]struct {
		origin func(http.ResponseWriter, *http.Request, <-chan struct{})
		shut   []http2.Setting
		send   func(*peer)
		sees   string
		reason string
		status int
	}{
		"no response": {
			func(_ http.ResponseWriter, _ *http.Request, end <-chan struct{}) { <-end },
			nil, func(p *peer) { _ = p.head(1, true, post()...) }, "HEAD 1 504", "upstream_timeout", 504,
		},
		"half a request": {
			func(_ http.ResponseWriter, r *http.Request, _ <-chan struct{}) { _, _ = io.Copy(io.Discard, r.Body) },
			nil, func(p *peer) { _ = p.head(1, false, post()...) }, "HEAD 1 408", "workload_timeout", 408,
		},
		"half a response": {
			func(rw http.ResponseWriter, _ *http.Request, end <-chan struct{}) {
				_, _ = io.WriteString(rw, "half")
				rw.(http.Flusher).Flush()
				<-end
			},
			nil, func(p *peer) { _ = p.head(1, true, post()...) }, "RST 1 INTERNAL_ERROR", "upstream_timeout", 200,
		},
		"response not taken": {
			func(rw http.ResponseWriter, _ *http.Request, _ <-chan struct{}) { _, _ = rw.Write(large) },
			[]http2.Setting{shut}, func(p *peer) { _ = p.head(1, true, post()...) }, "RST 1 ", "workload_timeout", 200,
		},
	} {
		t.Run(name, func(t *testing.T) {
			end := make(chan struct{})
			stop := sync.OnceFunc(func() { close(end) })
			w, o := overHTTP2(t, func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v1/x" {
					c.origin(rw, r, end)
				}
			}, func(o *options) {
				o.Timeouts.Response, o.Timeouts.BodyStall = 200*time.Millisecond, 200*time.Millisecond
			})
			t.Cleanup(stop)
			p := w.peer(o, c.shut...)
			c.send(p)
			p.sees(c.sees)
			if r := w.request(); r.Reason != c.reason || r.Status != c.status || len(r.Credentials) != 1 {
				t.Errorf("record %+v", r)
			}
			next := post()
			next[7] = "/next"
			_ = p.head(3, true, next...)
			p.sees("HEAD 3 200")
			stop()
		})
	}
}

// TestRequestNotTaken: the same of an upstream that leaves its window shut.
func TestRequestNotTaken(t *testing.T) {
	w := newWorld(t, func(o *options) { o.Timeouts.BodyStall = 200 * time.Millisecond })
	o := w.originFor(func(c net.Conn) { accepted(c); _, _ = io.Copy(io.Discard, c) }, host)
	o.config.NextProtos = []string{"h2"}
	w.use(policy.Intercept, w.partnerRoute())
	p := w.peer(o)
	_ = p.head(1, false, post()...)
	for range 8 { // twice the window
		_ = p.f.WriteData(1, false, make([]byte, 16<<10))
	}
	p.sees("HEAD 1 504")
	if r := w.request(); r.Reason != "upstream_timeout" || r.Status != 504 {
		t.Errorf("record %+v", r)
	}
}

// TestSlowButMoving: a stream on which something happens goes on for longer than
// any timeout, whichever way it moves.
func TestSlowButMoving(t *testing.T) {
	w, o := overHTTP2(t, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		rw.(http.Flusher).Flush()
		for range 8 {
			time.Sleep(60 * time.Millisecond)
			_, _ = io.WriteString(rw, ".")
			rw.(http.Flusher).Flush()
		}
	}, func(o *options) {
		o.Timeouts.Response, o.Timeouts.BodyStall = 200*time.Millisecond, 200*time.Millisecond
	})
	p := w.peer(o)
	_ = p.head(1, false, post()...)
	for i := range 8 {
		time.Sleep(60 * time.Millisecond)
		_ = p.f.WriteData(1, i == 7, []byte("x"))
	}
	p.sees("END 1")
	if r := w.request(); r.Reason != "" || r.Status != 200 {
		t.Errorf("record %+v", r)
	}
}
