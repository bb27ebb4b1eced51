package proxy_test

import (
	"io"
	"net/http"
	"testing"

	"golang.org/x/net/http2"
)

// TestAborted is C4: a request whose length lied, or that was cut off, is never
// whole for the upstream, and its record says so.
func TestAborted(t *testing.T) {
	with := func(length string) []string { return post("content-length", length) }
	trailer := func(name, value string) func(*peer) {
		return func(p *peer) {
			_ = p.head(1, false, with("4")...)
			_ = p.f.WriteData(1, false, []byte("half"))
			_ = p.head(1, true, name, value)
		}
	}
	for name, c := range map[string]struct {
		send   func(*peer)
		reason string
	}{
		"less content": {func(p *peer) {
			_ = p.head(1, false, with("10")...)
			_ = p.f.WriteData(1, true, []byte("half"))
		}, "bad_request"},
		"more content": {func(p *peer) {
			_ = p.head(1, false, with("3")...)
			_ = p.f.WriteData(1, true, []byte("more"))
		}, "bad_request"},
		"more, later": {func(p *peer) {
			_ = p.head(1, false, with("5")...)
			_ = p.f.WriteData(1, false, []byte("1234"))
			_ = p.f.WriteData(1, true, []byte("5678"))
		}, "bad_request"},
		"less, and trailers": {func(p *peer) {
			_ = p.head(1, false, with("10")...)
			_ = p.f.WriteData(1, false, []byte("half"))
			_ = p.head(1, true, "x-t", "y")
		}, "bad_request"},
		"bad trailers":               {trailer("connection", "close"), "bad_request"},
		"injected trailer":           {trailer("authorization", "mine"), "bad_request"},
		"trailer that frames":        {trailer("content-length", "4"), "bad_request"},
		"trailer that routes":        {trailer("host", "www.example.com"), "bad_request"},
		"trailer that authenticates": {trailer("cookie", "a=b"), "bad_request"},
		"second head": {func(p *peer) {
			_ = p.head(1, false, with("4")...)
			_ = p.head(1, false, with("4")...)
		}, "bad_request"},
		"reset": {func(p *peer) {
			_ = p.head(1, false, with("10")...)
			_ = p.f.WriteData(1, false, []byte("half"))
			_ = p.f.WriteRSTStream(1, http2.ErrCodeCancel)
		}, "workload_closed"},
		"connection closed": {func(p *peer) {
			_ = p.head(1, false, with("10")...)
			_ = p.f.WriteData(1, false, []byte("half"))
			_ = p.f.WritePing(false, [8]byte{})
			p.sees("PING true")
			_ = p.c.Close()
		}, "workload_closed"},
		"connection broken": {func(p *peer) {
			_ = p.head(1, false, with("10")...)
			_ = p.f.WriteRawFrame(http2.FramePing, 0, 1, make([]byte, 8))
		}, "bad_request"},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan error, 1)
			w, o := overHTTP2(t, func(_ http.ResponseWriter, r *http.Request) {
				_, err := io.Copy(io.Discard, r.Body)
				got <- err
			})
			p := w.peer(o)
			c.send(p)
			r := w.request()
			if r.Reason != c.reason || r.Method != "POST" || r.Status != 0 && r.Status != 400 {
				t.Errorf("record %+v", r)
			}
			_ = p.c.Close()
			w.quiet()
			select { // the origin may not have begun with it
			case err := <-got:
				if err == nil {
					t.Error("whole for the origin")
				}
			default:
			}
		})
	}
}
