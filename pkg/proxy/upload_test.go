package proxy_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
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
	const begun = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
	w := newWorld(t, func(o *options) { o.Timeouts.Response = 200 * time.Millisecond })
	goOn := make(chan struct{})
	o := w.originFor(func(c net.Conn) {
		r := newReader(c)
		if !r.head() {
			return
		}
		_, _ = io.WriteString(c, begun+"ab")
		for !strings.Contains(string(r.buf), endChunks) && r.more() {
		}
		<-goOn
		_, _ = io.WriteString(c, "cd")
	}, host)
	w.use(policy.Intercept, w.openRoute())
	c := w.tls(as{original: o.addr}, host)
	_, _ = io.WriteString(c, beginChunks)
	expectRead(t, c, closing(begun)+"ab")
	_, _ = io.WriteString(c, endChunks)
	time.AfterFunc(time.Second, func() { close(goOn) })
	expectRead(t, c, "cd")
}

// TestRefusedContentStays: a client that asks whether its content is wanted, and is told
// that it is not, keeps it. One that is not told that nobody will read it sends it all.
func TestRefusedContentStays(t *testing.T) {
	const size = 8 << 20
	w := newWorld(t)
	o := w.originFor(answerEarly("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"), host)
	w.use(policy.Intercept, w.openRoute())
	client := http.Transport{
		ExpectContinueTimeout: 10 * time.Second,
		DialTLSContext:        func(context.Context, string, string) (net.Conn, error) { return w.tls(as{original: o.addr}, host), nil },
	}
	defer client.CloseIdleConnections()
	var read counted
	r := mustRequest(t, "POST", "https://"+host+"/v1/x", io.TeeReader(io.LimitReader(zeros{}, size), &read))
	r.ContentLength = size
	r.Header.Set("Expect", "100-continue")
	res, err := client.RoundTrip(r)
	must(t, err)
	must(t, res.Body.Close())
	w.quiet()
	if res.StatusCode != 401 || read.n.Load() > 0 {
		t.Errorf("status %d, and %d bytes were sent", res.StatusCode, read.n.Load())
	}
}

// counted counts what is written to it.
type counted struct{ n atomic.Int64 }

func (c *counted) Write(p []byte) (int, error) { c.n.Add(int64(len(p))); return len(p), nil }
