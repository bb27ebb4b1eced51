package proxy_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outwarden/outwarden/pkg/policy"
)

// TestRefusedStreams: a stream that the upstream says it did not begin with goes
// again over a fresh connection, with an intent of its own and all of its
// content. What was too large to keep does not.
func TestRefusedStreams(t *testing.T) {
	for name, c := range map[string]struct {
		method, body  string
		after         int // bytes of content
		code          http2.ErrCode
		status, tries int
	}{
		"GET refused":       {"GET", "", 0, http2.ErrCodeRefusedStream, 200, 2},
		"DELETE refused":    {"DELETE", "", 0, http2.ErrCodeRefusedStream, 200, 2},
		"GET broken":        {"GET", "", 0, http2.ErrCodeInternal, 502, 1},
		"POST refused":      {"POST", "body", 0, http2.ErrCodeRefusedStream, 200, 2},
		"POST refused late": {"POST", "body", 4, http2.ErrCodeRefusedStream, 200, 2},
		"POST broken":       {"POST", "body", 4, http2.ErrCodeInternal, 502, 1},
		"large POST":        {"POST", strings.Repeat("x", 60_000), 30_000, http2.ErrCodeRefusedStream, 502, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var conns atomic.Int32
			var got atomic.Value
			o := w.originFor(func(conn net.Conn) {
				if conns.Add(1) == 1 {
					resetFirst(conn, c.code, c.after)
					return
				}
				(&http2.Server{}).ServeConn(conn, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					got.Store(string(body))
				})})
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
			if c.status == 200 && got.Load() != c.body {
				t.Errorf("the second origin got %q", got.Load())
			}
		})
	}
}

// resetFirst answers every stream with RST_STREAM, once so much content came.
func resetFirst(c net.Conn, code http2.ErrCode, after int) {
	fr := accepted(c)
	got := map[uint32]int{}
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		id := f.Header().StreamID
		switch f := f.(type) {
		case *http2.HeadersFrame:
			if after == 0 {
				_ = fr.WriteRSTStream(id, code)
			}
		case *http2.DataFrame:
			if got[id] += len(f.Data()); got[id] >= after && got[id]-len(f.Data()) < after {
				_ = fr.WriteRSTStream(id, code)
			}
		}
	}
}

// accepted is a framer behind the client's preface.
func accepted(c net.Conn) *http2.Framer {
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.ReadFull(c, make([]byte, len(http2.ClientPreface)))
	fr := http2.NewFramer(c, c)
	_ = fr.WriteSettings()
	return fr
}

// TestGoAway: an upstream that ends its connections every few requests, in the
// middle of others, as servers do that count them, is not noticed by workloads.
func TestGoAway(t *testing.T) {
	w := newWorld(t)
	o := w.originFor(func(c net.Conn) { serveSome(c, 7) }, host)
	o.config.NextProtos = []string{"h2"}
	w.use(policy.Intercept, w.partnerRoute())
	rt := w.roundTripper(w.tls(as{original: o.addr}, host, "h2"))
	var wg sync.WaitGroup
	const workers, each = 8, 25
	for range workers {
		wg.Go(func() {
			for range each {
				res, err := rt.RoundTrip(mustRequest(t, "POST", "https://"+host+"/", strings.NewReader("content")))
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(res.Body)
				if res.StatusCode != 200 || string(body) != "content" || err != nil {
					t.Errorf("status %d %q, %v", res.StatusCode, body, err)
				}
			}
		})
	}
	wg.Wait()
	for _, r := range w.awaitKind("request", workers*each) {
		if r.Status != 200 || r.Reason != "" {
			t.Errorf("record %+v", r)
		}
	}
}

// serveSome answers n requests with their content, announces with the last of
// them that those were all, and does not look at others.
func serveSome(c net.Conn, n int) {
	fr := accepted(c)
	last := uint32(2*n - 1)
	bodies := map[uint32][]byte{}
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		id := f.Header().StreamID
		switch f := f.(type) {
		case *http2.HeadersFrame:
			if id == last {
				_ = fr.WriteGoAway(last, http2.ErrCodeNo, nil)
			}
		case *http2.DataFrame:
			bodies[id] = append(bodies[id], f.Data()...)
			if f.StreamEnded() && id <= last {
				_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: encoded(":status", "200"), EndHeaders: true})
				_ = fr.WriteData(id, true, bodies[id])
			}
		}
	}
}

// encoded is a field section that changes no table.
func encoded(fields ...string) []byte {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1], Sensitive: !strings.HasPrefix(fields[i], ":")})
	}
	return block.Bytes()
}
