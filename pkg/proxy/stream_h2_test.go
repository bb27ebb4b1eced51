package proxy_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/policy"
)

// overHTTP2 is a world with an origin that answers with h, and a workload that
// speaks to it in frames.
func overHTTP2(t *testing.T, h http.HandlerFunc, settings ...setting) (*world, *origin) {
	t.Helper()
	w := newWorld(t, settings...)
	w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), h)
	w.use(policy.Intercept, w.partnerRoute())
	return w, o
}

func (w *world) peer(o *origin, settings ...http2.Setting) *peer {
	w.t.Helper()
	return newPeer(w.t, w.tls(as{original: o.addr}, host, "h2"), settings...)
}

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

// TestAborted is C4: a request whose length lied, or that was cut off, is never
// whole for the upstream, and its record says so.
func TestAborted(t *testing.T) {
	with := func(length string) []string { return post("content-length", length) }
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
		"bad trailers": {func(p *peer) {
			_ = p.head(1, false, with("4")...)
			_ = p.f.WriteData(1, false, []byte("half"))
			_ = p.head(1, true, "connection", "close")
		}, "bad_request"},
		"injected trailer": {func(p *peer) {
			_ = p.head(1, false, with("4")...)
			_ = p.f.WriteData(1, false, []byte("half"))
			_ = p.head(1, true, "authorization", "mine")
		}, "bad_request"},
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

// TestEarlyResponse: an upstream may answer before it has the content; the rest
// still goes to it, and the request is over when that has arrived.
func TestEarlyResponse(t *testing.T) {
	for name, c := range map[string]struct {
		length, rest, reason string
		whole                bool
	}{
		"whole":      {"8", "rest", "", true},
		"and a lie":  {"9", "rest", "bad_request", false},
		"and a lot ": {"7", "rest", "bad_request", false},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan string, 1)
			o := newWorld(t)
			origin := o.originFor(func(conn net.Conn) { answerFirst(conn, got) }, host)
			origin.config.NextProtos = []string{"h2"}
			o.use(policy.Intercept, o.partnerRoute())
			p := o.peer(origin)
			_ = p.head(1, false, post("content-length", c.length)...)
			_ = p.f.WriteData(1, false, []byte("half"))
			p.sees("END 1")
			if n := len(o.records.of(audit.KindRequest)); n > 0 {
				t.Errorf("%d records before the end", n)
			}
			_ = p.f.WriteData(1, true, []byte(c.rest))
			if r := o.request(); r.Reason != c.reason || r.Status != 200 {
				t.Errorf("record %+v", r)
			}
			if body := <-got; (body == "halfrest END") != c.whole {
				t.Errorf("the origin got %q", body)
			}
		})
	}
}

// answerFirst answers the first stream when its first content has come, and says
// what else came until its end.
func answerFirst(c net.Conn, got chan<- string) {
	fr := accepted(c)
	var body bytes.Buffer
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.DataFrame:
			if body.Len() == 0 {
				_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encoded(":status", "200"), EndHeaders: true, EndStream: true})
			}
			body.Write(f.Data())
			if f.StreamEnded() {
				got <- body.String() + " END"
			}
		case *http2.RSTStreamFrame:
			got <- body.String() + " " + f.ErrCode.String()
		}
	}
}

// TestEnoughOfTheRequest: an upstream that has answered and wants no more of the
// request says so, and the workload hears it.
func TestEnoughOfTheRequest(t *testing.T) {
	w, o := overHTTP2(t, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "enough") })
	p := w.peer(o)
	_ = p.head(1, false, post()...)
	_ = p.f.WriteData(1, false, []byte("some"))
	p.sees("END 1")
	p.sees("RST 1 NO_ERROR")
	if r := w.request(); r.Reason != "" || r.Status != 200 {
		t.Errorf("record %+v", r)
	}
}

// TestCodesGoThrough: a stream that breaks says the same on both sides, as gRPC
// tells a cancelled call from a broken one by it.
func TestCodesGoThrough(t *testing.T) {
	w := newWorld(t)
	heard := make(chan http2.ErrCode, 1)
	o := w.originFor(func(c net.Conn) {
		fr := accepted(c)
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.HeadersFrame:
				_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: f.StreamID, BlockFragment: encoded(":status", "200"), EndHeaders: true})
				if f.StreamID == 1 {
					_ = fr.WriteRSTStream(1, http2.ErrCodeEnhanceYourCalm)
				}
			case *http2.RSTStreamFrame:
				heard <- f.ErrCode
			}
		}
	}, host)
	o.config.NextProtos = []string{"h2"}
	w.use(policy.Intercept, w.partnerRoute())
	p := w.peer(o)
	_ = p.head(1, false, post()...)
	p.sees("RST 1 ENHANCE_YOUR_CALM")
	_ = p.head(3, false, post()...)
	p.sees("HEAD 3 200")
	_ = p.f.WriteRSTStream(3, http2.ErrCodeHTTP11Required)
	if code := <-heard; code != http2.ErrCodeHTTP11Required {
		t.Errorf("the upstream heard %v", code)
	}
}

// TestBadUpstreams: what is no HTTP/2, or no response, is a refusal with a reason
// and reaches no workload.
func TestBadUpstreams(t *testing.T) {
	section := func(fields ...string) func(net.Conn) {
		return func(c net.Conn) {
			fr := accepted(c)
			for {
				f, err := fr.ReadFrame()
				if err != nil {
					return
				}
				if h, ok := f.(*http2.HeadersFrame); ok {
					_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: h.StreamID, BlockFragment: encoded(fields...), EndHeaders: true})
				}
			}
		}
	}
	for name, c := range map[string]struct {
		serve  func(net.Conn)
		reason string
	}{
		"HTTP/1":         {func(c net.Conn) { _, _ = io.WriteString(c, okResponse); _, _ = io.Copy(io.Discard, c) }, "upstream_response"},
		"closed at once": {func(net.Conn) {}, "upstream_closed"},
		"silent":         {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, "upstream_timeout"},
		"GOAWAY with error": {func(c net.Conn) {
			_ = accepted(c).WriteGoAway(1, http2.ErrCodeInternal, nil)
			_, _ = io.Copy(io.Discard, c)
		}, "upstream_closed"},
		"no status":       {section("x", "y"), "upstream_response"},
		"two statuses":    {section(":status", "200", ":status", "200"), "upstream_response"},
		"LF in a value":   {section(":status", "200", "x", "a\nb: c"), "upstream_response"},
		"connection":      {section(":status", "200", "connection", "close"), "upstream_response"},
		"upper case":      {section(":status", "200", "X-Big", "y"), "upstream_response"},
		"1 MiB of fields": {section(":status", "200", "x", strings.Repeat("a", 300<<10)), "upstream_response"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(o *options) { o.Timeouts.Response = 300 * time.Millisecond })
			o := w.originFor(c.serve, host)
			o.config.NextProtos = []string{"h2"}
			w.use(policy.Intercept, w.partnerRoute())
			status, reason := w.fetch(o, "h2", "GET", "https://"+host+"/v1/x")
			if want := map[bool]int{true: 504, false: 502}[c.reason == "upstream_timeout"]; status != want || reason != c.reason {
				t.Errorf("%d %s, want %d %s", status, reason, want, c.reason)
			}
			if r := w.request(); r.Reason != c.reason || r.Status != status {
				t.Errorf("record %+v", r)
			}
		})
	}
}

// TestUpstreamLosesHTTP2: the workload is told that its connection is of no more
// use, and its next one speaks what the upstream does now.
func TestUpstreamLosesHTTP2(t *testing.T) {
	for name, now := range map[string][]string{"chooses nothing": nil, "refuses": {"http/1.1"}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := w.originFor(func(c net.Conn) {
				if c.(*tapped).protocol() != "h2" {
					answerOK(c)
					return
				}
				(&http2.Server{}).ServeConn(c, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
			}, host)
			o.config.NextProtos = []string{"h2", "http/1.1"}
			w.use(policy.Intercept, w.partnerRoute())
			p := newPeer(t, w.tls(as{original: o.addr}, host, "h2", "http/1.1"))
			_ = p.head(1, true, post()...)
			p.sees("HEAD 1 200")

			o.become(now)
			w.pool.Retire()
			_ = p.head(3, true, post()...)
			p.sees("HEAD 3 502")
			p.sees("GOAWAY NO_ERROR")
			if r := w.awaitKind("request", 2)[1]; r.Reason != "upstream_tls" {
				t.Errorf("record %+v", r)
			}
			next := w.tls(as{original: o.addr}, host, "h2", "http/1.1")
			if got := next.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
				t.Fatalf("agreed on %q", got)
			}
			_, _ = io.WriteString(next, plainGet)
			expectRead(t, next, okResponse)
		})
	}
}

// TestSyncedIntents: a request whose intent waits for the disk holds up no other
// on its connection.
func TestSyncedIntents(t *testing.T) {
	slow := &slowRecords{records: &records{}, slow: make(chan struct{})}
	w, o := overHTTP2(t, func(http.ResponseWriter, *http.Request) {}, func(o *options) { o.Synced, o.Records = true, slow })
	p := w.peer(o)
	waits := post()
	waits[7] = "/slow"
	_ = p.head(1, false, waits...)
	_ = p.f.WriteData(1, true, []byte("content"))
	_ = p.head(3, true, post()...)
	p.sees("HEAD 3 200")
	if p.saw("HEAD 1") {
		t.Error("answered before its intent was written")
	}
	close(slow.slow)
	p.sees("HEAD 1 200")
	_ = p.c.Close()
	w.quiet()
	if n := len(slow.of(audit.KindRequest)); n != 2 {
		t.Errorf("%d records", n)
	}
}

// slowRecords keeps what is written of /slow waiting.
type slowRecords struct {
	*records
	slow chan struct{}
}

func (r *slowRecords) Append(rec *audit.Record) error {
	if rec.Path == "/slow" && rec.Kind == audit.KindCredential {
		<-r.slow
	}
	return r.records.Append(rec)
}

// TestDefectsOfTheTrail: a result that could not be written is told, as over
// HTTP/1.
func TestDefectsOfTheTrail(t *testing.T) {
	for _, alpn := range versions {
		w, o := overHTTP2(t, func(http.ResponseWriter, *http.Request) {})
		full := errors.New("disk full")
		w.use(policy.Intercept, w.openRoute())
		w.records.breakWith(full)
		if status, _ := w.fetch(o, alpn, "GET", "https://"+host+"/"); status != 200 {
			t.Errorf("%s: status %d", alpn, status)
		}
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			if w.defects.has(full) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: nothing was said of it", alpn)
			}
		}
	}
}
