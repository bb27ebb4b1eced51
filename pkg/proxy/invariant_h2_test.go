package proxy_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"pgregory.net/rapid"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/policy"
)

// manyAsk are the requests of one HTTP/2 connection: a client may coalesce those
// for several names on it, and each is judged on its own.
type manyAsk struct {
	pid                    uint32
	sni, origin, form      string
	resolves, allowPrivate bool
	mode                   policy.Mode
	def                    policy.Action
	asks                   []ask
}

type ask struct{ method, authority, path string }

func drawMany(t *rapid.T) manyAsk {
	d := draws{t, 3}
	mostly, yes := d.mostly, d.yes
	a := manyAsk{
		pid: appPID, sni: mostly("sni", host, "www.example.com", "sub."+host), origin: mostly("origin", "good", "other name", "untrusted"),
		form: rapid.SampledFrom(invariantForms).Draw(t, "form"), resolves: yes("resolves"), allowPrivate: yes("allow private"),
		mode: rapid.SampledFrom([]policy.Mode{policy.Enforce, policy.Enforce, policy.Report, policy.Observe}).Draw(t, "mode"),
		def:  rapid.SampledFrom([]policy.Action{policy.Intercept, policy.Passthrough, policy.Deny}).Draw(t, "default"),
	}
	if !yes("app") {
		a.pid = otherPID
	}
	for range rapid.IntRange(1, 4).Draw(t, "requests") {
		a.asks = append(a.asks, ask{
			method:    mostly("method", "POST", "OPTIONS", "PURGE", "options"),
			authority: mostly("authority", host, "www.example.com", "127.0.0.1", strings.ToUpper(host), host+":1", "sub."+host, host+"."),
			path:      mostly("path", "/v1/x", "/v2/x", "/v1/%2e%2e/x", "/V1/x"),
		})
	}
	return a
}

// carriers counts the requests that may carry the canary, told naively.
func (a *manyAsk) carriers() (n int) {
	if a.pid != appPID || a.sni != host || a.origin != "good" || !a.resolves || !a.allowPrivate || a.mode == policy.Observe {
		return 0
	}
	for _, r := range a.asks {
		named := strings.TrimSuffix(strings.ToLower(r.authority), ".") == host
		if named && r.path == "/v1/x" && !strings.EqualFold(r.method, "options") {
			n++
		}
	}
	return n
}

// canaryOrigin counts the canaries that reach it, in head or content.
func canaryOrigin(t testing.TB, leaf tls.Certificate, n *atomic.Int64) *origin {
	return newHTTPOrigin(t, leaf, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		all := fmt.Append(body, r.RequestURI, r.Header, r.Trailer)
		n.Add(int64(bytes.Count(all, []byte(canary))))
	}))
}

// TestInvariantHTTP2: of all requests that are coalesced on one connection, those
// and no others carry the canary that may, each with an intent of its own.
func TestInvariantHTTP2(t *testing.T) {
	w := newWorld(t)
	other := newPartnerCA(t)
	counts := map[string]*atomic.Int64{"good": {}, "other name": {}, "untrusted": {}}
	all := []string{host, "127.0.0.1", "www.example.com", "sub." + host}
	origins := map[string]*origin{
		"good":       canaryOrigin(t, w.partner.leaf(t, all), counts["good"]),
		"other name": canaryOrigin(t, w.partner.leaf(t, []string{"www.example.org"}), counts["other name"]),
		"untrusted":  canaryOrigin(t, other.leaf(t, all), counts["untrusted"]),
	}
	plans := invariantPlans(t)
	judge := func(t failer, a manyAsk) {
		w.records.forget()
		w.pool.Retire()
		delete(w.names, host)
		if a.resolves {
			w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		}
		s := w.snapshot(a.def, w.partnerRoute(func(r *rule) {
			p := *r.plan.Upstream
			p.AllowPrivate = a.allowPrivate
			r.plan.Upstream, r.route.Mode, r.plan.EditedBody = &p, a.mode, 1<<10
			r.route.To.Paths, r.plan.Inject = paths(w.t, "/v1/**"), plans[a.form]
		}))
		s.Placeholders = inject.NewPlaceholders(plans[a.form])
		w.proxy.SetSnapshot(s)
		before := map[string]int64{}
		for name, n := range counts {
			before[name] = n.Load()
		}
		a.send(w, origins[a.origin])
		w.quiet()
		for name, n := range counts {
			want := 0
			if name == a.origin {
				want = a.carriers()
			}
			if got := int(n.Load() - before[name]); got != want {
				t.Fatalf("%+v: %d canaries at %s, want %d; records %+v", a, got, name, want, w.records.of(audit.KindRequest))
			}
		}
		if n := len(w.records.of(audit.KindCredential)); n != a.carriers() {
			t.Fatalf("%+v: %d intents, want %d", a, n, a.carriers())
		}
	}
	good := manyAsk{pid: appPID, sni: host, origin: "good", form: "bearer", resolves: true, allowPrivate: true, asks: []ask{
		{"POST", host, "/v1/x"}, {"POST", "www.example.com", "/v1/x"}, {"POST", host, "/v1/x"},
	}}
	if good.carriers() != 2 {
		t.Fatal("the oracle allows not two of three")
	}
	for _, form := range invariantForms {
		good.form = form
		judge(t, good)
	}
	rapid.Check(t, func(t *rapid.T) { judge(t, drawMany(t)) })
}

// send makes the requests; how they end does not matter here.
func (a *manyAsk) send(w *world, o *origin) {
	c := tls.Client(w.dial(as{pid: a.pid, original: o.addr}), &tls.Config{ServerName: a.sni, InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	defer c.Close()
	if c.Handshake() != nil || c.ConnectionState().NegotiatedProtocol != "h2" {
		return
	}
	cc, err := (&http2.Transport{}).NewClientConn(c)
	if err != nil {
		return
	}
	for _, r := range a.asks {
		req := mustRequest(w.t, r.method, "https://"+host+r.path, strings.NewReader(`{"k":"`+lure+`"}`))
		req.Host = r.authority
		req.Header.Set("X-Key", lure)
		req.Header.Set("Content-Type", "application/json")
		res, err := cc.RoundTrip(req)
		if err != nil {
			continue
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	_ = cc.Close()
}
