package proxy_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/proxy"
	"github.com/outwarden/outwarden/pkg/scrub"
	"github.com/outwarden/outwarden/pkg/secret"
)

// tenant is a workload with a credential and a client certificate of its own.
type tenant struct {
	name string
	pid  uint32
	exe  string
	cert tls.Certificate
}

func (t *tenant) token() string { return "token-of-" + t.name + "-5e7c41d09b" }

func (t *tenant) plan(tb testing.TB) *inject.Plan {
	return credentials(tb, inject.Credential{Name: t.name, Version: "1", Form: inject.Bearer, Value: secret.New([]byte(t.token()))})
}

// TestTenants is F5: two workloads call one host over pooled connections, both
// versions at once, each with its credential and its certificate. The origin sees
// no credential with the other's certificate or request, no workload gets the other's
// response, and none sees its own credential. `make isolation` has it in full, under
// the race detector.
func TestTenants(t *testing.T) {
	w := newWorld(t, func(o *options) { o.Timeouts = proxy.Timeouts{} }) // a loaded machine takes its time
	w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	tenants := []*tenant{
		{name: "app", pid: appPID, exe: "/opt/app/*"}, {name: "other", pid: otherPID, exe: "/usr/bin/other"},
	}
	var rules []rule
	for _, who := range tenants {
		who.cert = w.partner.leaf(t, []string{who.name})
		rules = append(rules, w.tenantRoute(who))
	}
	var wrong atomic.Int64
	o := tenantOrigin(t, w, &wrong)
	w.use(policy.Deny, rules...)
	n := times(1000, 20000)
	var wg sync.WaitGroup
	for _, who := range tenants {
		for _, alpn := range versions {
			const conns = 8
			for c := range conns {
				wg.Go(func() { w.ask(o, who, alpn, c, n/(conns*len(versions)), &wrong) })
			}
		}
	}
	wg.Wait()
	if wrong.Load() != 0 {
		t.Errorf("%d requests or responses were another's", wrong.Load())
	}
}

func (w *world) tenantRoute(who *tenant) rule {
	return w.partnerRoute(func(r *rule) {
		r.route.Name, r.route.From.Exe = who.name, globs(w.t, who.exe)
		r.plan.Inject = who.plan(w.t)
		r.plan.Upstream = w.profile(who.name)
		r.plan.Upstream.Certificate = &who.cert
		r.plan.Scrub.Filter, _ = scrub.New([]scrub.Secret{{Name: who.name, Mark: "hidden-" + who.name, Value: secret.New([]byte(who.token()))}})
	})
}

// tenantOrigin answers with what it was asked and by whom, and holds all that it
// knows of that against each other.
func tenantOrigin(t *testing.T, w *world, wrong *atomic.Int64) *origin {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		name, cert := r.Header.Get("X-Tenant"), r.TLS.PeerCertificates[0].DNSNames[0]
		if auth := r.Header["Authorization"]; len(auth) != 1 || auth[0] != "Bearer "+(&tenant{name: name}).token() || cert != name {
			wrong.Add(1)
		}
		rw.Header().Set("X-For", name+" "+r.URL.Path)
		fmt.Fprintf(rw, "%s %s %s", name, r.URL.Path, r.Header.Get("Authorization"))
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{w.partner.leaf(t, []string{host})}, ClientAuth: tls.RequireAnyClientCert}
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return &origin{addr: netip.MustParseAddrPort(s.Listener.Addr().String())}
}

// ask sends n requests of a tenant, some at once where the version allows it.
func (w *world) ask(o *origin, who *tenant, alpn string, c, n int, wrong *atomic.Int64) {
	conn, err := w.tryTLS(as{pid: who.pid, original: o.addr}, host, alpn)
	if err != nil {
		w.t.Error(err)
		return
	}
	_ = conn.SetDeadline(time.Time{})
	rt := w.roundTripper(conn)
	atOnce := 1
	if alpn == "h2" {
		atOnce = 4
	}
	var wg sync.WaitGroup
	for k := range atOnce {
		wg.Go(func() {
			for i := k; i < n; i += atOnce {
				w.askOnce(rt, who, fmt.Sprintf("/v1/%s/%s/%d/%d", who.name, strings.ReplaceAll(alpn, "/", "-"), c, i), wrong)
			}
		})
	}
	wg.Wait()
}

func (w *world) askOnce(rt http.RoundTripper, who *tenant, path string, wrong *atomic.Int64) {
	r := mustRequest(w.t, "GET", "https://"+host+path, nil)
	r.Header.Set("X-Tenant", who.name)
	res, err := rt.RoundTrip(r)
	if err != nil {
		w.t.Error(err)
		return
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	want := who.name + " " + path
	masked := "hidden-" + who.name + strings.Repeat("*", len(who.token())-len("hidden-"+who.name))
	if err != nil || res.Header.Get("X-For") != want || string(body) != want+" Bearer "+masked {
		wrong.Add(1)
		w.t.Errorf("%s: %s %q %v", path, res.Status, body, err)
	}
}
