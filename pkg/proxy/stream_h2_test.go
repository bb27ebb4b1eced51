package proxy_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/hmacsig"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/secret"
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

// TestEarlyResponse: an upstream may answer before it has the content; the rest
// still goes to it, and the request is over when that has arrived.
func TestEarlyResponse(t *testing.T) {
	for name, c := range map[string]struct {
		length, rest, reason string
		whole                bool
	}{
		"whole":      {"8", "rest", "", true},
		"too little": {"9", "rest", "bad_request", false},
		"too much":   {"7", "rest", "bad_request", false},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan string, 1)
			w := newWorld(t)
			o := w.originFor(func(conn net.Conn) { answerFirst(conn, got) }, host)
			o.config.NextProtos = []string{"h2"}
			w.use(policy.Intercept, w.partnerRoute())
			p := w.peer(o)
			_ = p.head(1, false, post("content-length", c.length)...)
			_ = p.f.WriteData(1, false, []byte("half"))
			p.sees("END 1")
			if n := len(w.records.of(audit.KindRequest)); n > 0 {
				t.Errorf("%d records before the end", n)
			}
			_ = p.f.WriteData(1, true, []byte(c.rest))
			if r := w.request(); r.Reason != c.reason || r.Status != 200 {
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
				if f.StreamID == 5 {
					_ = fr.WriteRSTStream(5, http2.ErrCodeHTTP11Required)
					continue
				}
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
	_ = p.head(5, false, post()...)
	p.sees("RST 5 HTTP_1_1_REQUIRED")
	if r := w.awaitKind("request", 3)[2]; r.Reason != "upstream_closed" || r.Status != 0 {
		t.Errorf("record %+v", r)
	}
}

// TestInvitedBody: who waits to be invited before it sends content that a signer
// must see first is invited by us, and the upstream is not asked.
func TestInvitedBody(t *testing.T) {
	scheme, err := hmacsig.Preset("knoxcall")
	must(t, err)
	plan, err := inject.NewPlan(nil, &inject.HMAC{Name: "hmac", Version: "1", Scheme: scheme, Key: secret.New([]byte("key")), Nonce: true})
	must(t, err)
	got := make(chan string, 1)
	w, o := overHTTP2(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.Header.Get("Expect") + string(body)
	})
	w.use(policy.Intercept, w.partnerRoute(func(r *rule) { r.plan.Inject = plan }))
	p := w.peer(o)
	_ = p.head(1, false, post("expect", "100-continue", "content-length", "7")...)
	p.sees("HEAD 1 100")
	_ = p.f.WriteData(1, true, []byte("content"))
	p.sees("HEAD 1 200")
	if got := <-got; got != "content" {
		t.Errorf("the origin got %q", got)
	}
	if r := w.request(); r.Signature == nil || r.Status != 200 {
		t.Errorf("record %+v", r)
	}
}

// TestSchemeOfTheLeg: a workload that speaks in clear on a route that allows it
// has its requests carried over TLS, and they say so.
func TestSchemeOfTheLeg(t *testing.T) {
	w := newWorld(t)
	got := make(chan string, 1)
	o := w.originFor(func(c net.Conn) {
		fr := accepted(c)
		fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := f.(*http2.MetaHeadersFrame); ok {
				got <- h.PseudoValue("scheme") + " " + h.PseudoValue("authority")
				_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: h.StreamID, BlockFragment: encoded(":status", "204"), EndHeaders: true, EndStream: true})
			}
		}
	}, host)
	o.config.NextProtos = []string{"h2"}
	w.use(policy.Intercept, w.partnerRoute(func(r *rule) { r.plan.Cleartext = true }))
	p := newPeer(t, w.dial(as{original: o.addr}))
	_ = p.head(1, true, ":method", "GET", ":scheme", "http", ":authority", host, ":path", "/")
	p.sees("HEAD 1 204")
	if got := <-got; got != "https "+host {
		t.Errorf("the origin got %q", got)
	}
	if r := w.request(); r.Upstream.TLS != "1.3" || len(r.Credentials) != 1 {
		t.Errorf("record %+v", r)
	}
}
