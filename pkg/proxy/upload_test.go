package proxy_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/policy"
)

const (
	beginChunks = "POST /v1/x HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
	endChunks   = "0\r\n\r\n"
)

// TestUploadOnReused: content that takes its time goes over a connection that has
// served before as over a new one: what was waited for then has nothing to do with it.
func TestUploadOnReused(t *testing.T) {
	w := newWorld(t, func(o *options) { o.Timeouts.Response = time.Second })
	o := w.originFor(nil, host)
	w.use(policy.Intercept, w.openRoute())
	c := w.tls(as{original: o.addr}, host)
	_, _ = io.WriteString(c, plainGet)
	expectRead(t, c, okResponse)
	_, _ = io.WriteString(c, beginChunks)
	time.Sleep(1500 * time.Millisecond) // that is how slow it is
	_, _ = io.WriteString(c, endChunks)
	expectRead(t, c, okResponse)
	if o.accepted() != 1 {
		t.Errorf("%d connections", o.accepted())
	}
}

// TestUploadEndsWithin: the end of the content leaves alone what the response, which
// has begun, is waited for.
func TestUploadEndsWithin(t *testing.T) {
	w := newWorld(t, func(o *options) { o.Timeouts.Response = 200 * time.Millisecond })
	goOn := make(chan struct{})
	o := w.originFor(func(c net.Conn) {
		r := newReader(c)
		if !r.head() {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
		for !strings.Contains(string(r.buf), endChunks) && r.more() {
		}
		<-goOn
		_, _ = io.WriteString(c, "cd")
	}, host)
	w.use(policy.Intercept, w.openRoute())
	c := w.tls(as{original: o.addr}, host)
	_, _ = io.WriteString(c, beginChunks)
	expectRead(t, c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
	_, _ = io.WriteString(c, endChunks)
	time.AfterFunc(time.Second, func() { close(goOn) })
	expectRead(t, c, "cd")
}
