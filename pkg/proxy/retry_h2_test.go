package proxy_test

import (
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/policy"
)

// TestRefusedStreams: a stream that the upstream says it did not begin with goes
// again over a fresh connection, with an intent of its own.
func TestRefusedStreams(t *testing.T) {
	for _, c := range []struct {
		method, body  string
		code          http2.ErrCode
		status, tries int
	}{
		{"GET", "", http2.ErrCodeRefusedStream, 200, 2},
		{"DELETE", "", http2.ErrCodeRefusedStream, 200, 2},
		{"GET", "", http2.ErrCodeInternal, 502, 1},
		{"POST", "body", http2.ErrCodeRefusedStream, 502, 1},
	} {
		t.Run(c.method+" "+c.code.String(), func(t *testing.T) {
			w := newWorld(t)
			var conns atomic.Int32
			o := w.originFor(func(conn net.Conn) {
				if conns.Add(1) == 1 {
					resetFirst(conn, c.code)
					return
				}
				(&http2.Server{}).ServeConn(conn, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
			}, host)
			o.config.NextProtos = []string{"h2"}
			w.use(policy.Intercept, w.partnerRoute())
			r := mustRequest(t, c.method, "https://"+host+"/", strings.NewReader(c.body))
			if res := w.do(o, "h2", r); res.StatusCode != c.status {
				t.Errorf("status %d, want %d", res.StatusCode, c.status)
			}
			w.awaitKind("credential", c.tries)
			if r := w.request(); r.Status != c.status {
				t.Errorf("record %+v", r)
			}
		})
	}
}

// resetFirst answers every stream with RST_STREAM.
func resetFirst(c net.Conn, code http2.ErrCode) {
	preface := make([]byte, len(http2.ClientPreface))
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(preface); err != nil {
		return
	}
	fr := http2.NewFramer(c, c)
	_ = fr.WriteSettings()
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		if h, ok := f.(*http2.HeadersFrame); ok {
			_ = fr.WriteRSTStream(h.StreamID, code)
		}
	}
}
