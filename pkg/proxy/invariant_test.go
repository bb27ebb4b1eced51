package proxy_test

import (
	"bytes"
	"crypto/tls"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/secret"
)

// attempt is one request by one workload in one configuration.
type attempt struct {
	pid                    uint32
	sni, name, method      string
	path, form             string
	clear, allowsClear     bool
	origin                 string // whose certificate
	resolves, allowPrivate bool
	mode                   policy.Mode
	def                    policy.Action
}

// draws are mostly good: of odds+1 choices one is not, of odds+3 questions one is
// answered with no.
type draws struct {
	t    *rapid.T
	odds int
}

func (d draws) mostly(label string, good string, bad ...string) string {
	if rapid.IntRange(0, d.odds).Draw(d.t, label+" good") > 0 {
		return good
	}
	return rapid.SampledFrom(bad).Draw(d.t, label)
}

func (d draws) yes(label string) bool { return rapid.IntRange(0, d.odds+2).Draw(d.t, label) > 0 }

func drawAttempt(t *rapid.T) attempt {
	d := draws{t, 2}
	mostly, yes := d.mostly, d.yes
	a := attempt{
		pid: appPID, clear: !yes("tls"), allowsClear: rapid.Bool().Draw(t, "allows clear text"),
		sni:      mostly("sni", host, "www.example.com", "127.0.0.1", "sub."+host),
		name:     mostly("name", host, "www.example.com", "127.0.0.1", strings.ToUpper(host), host+":1", "sub."+host),
		method:   mostly("method", "POST", "GET", "TRACE", "OPTIONS", "trace", "PURGE"),
		path:     mostly("path", "/v1/x", "/v2/x", "/v1/../x", "/v1/%2e%2e/x", "/V1/x", "//v1/x"),
		form:     rapid.SampledFrom(invariantForms).Draw(t, "form"),
		origin:   mostly("origin", "good", "other name", "untrusted"),
		resolves: yes("resolves"), allowPrivate: yes("allow private"),
		mode: rapid.SampledFrom([]policy.Mode{policy.Enforce, policy.Enforce, policy.Report, policy.Observe}).Draw(t, "mode"),
		def:  rapid.SampledFrom([]policy.Action{policy.Intercept, policy.Passthrough, policy.Deny}).Draw(t, "default"),
	}
	if !yes("app") {
		a.pid = otherPID
	}
	return a
}

// invariantForms are the ways in which the canary would leave.
var invariantForms = []string{"bearer", "json", "placeholder in a header", "placeholder in the body"}

func invariantPlans(t testing.TB) map[string]*inject.Plan {
	swap := inject.Credential{Name: "token", Version: "1", Form: inject.Placeholder, Placeholder: lure, Value: secret.New([]byte(canary))}
	header, body := swap, swap
	header.In, body.In = inject.InHeader, inject.InBody
	return map[string]*inject.Plan{
		"bearer": bearer(t), "json": credentials(t, put(inject.JSON, "/k")),
		"placeholder in a header": credentials(t, header), "placeholder in the body": credentials(t, body),
	}
}

// mayCarry is the invariant told naively.
func (a *attempt) mayCarry() bool {
	named := strings.EqualFold(a.name, host)
	asked := a.clear && a.allowsClear || !a.clear && a.sni == host
	echoes := strings.EqualFold(a.method, "trace") || strings.EqualFold(a.method, "options")
	return a.pid == appPID && a.path == "/v1/x" && a.mode != policy.Observe && named && asked && !echoes &&
		a.origin == "good" && a.resolves && a.allowPrivate
}

// TestInvariant: whatever comes together, the canary is at the partner exactly
// where it may be, nowhere else, and never before its intent is written.
func TestInvariant(t *testing.T) {
	w := newWorld(t)
	other := newPartnerCA(t)
	origins := map[string]*origin{
		"good":       w.originFor(nil, host, "127.0.0.1", "www.example.com", "sub."+host),
		"other name": w.originFor(nil, "www.example.org"),
		"untrusted":  newOrigin(t, &tls.Config{Certificates: []tls.Certificate{other.leaf(t, []string{host})}}, nil),
	}
	plans := invariantPlans(t)
	judge := func(t failer, a attempt) {
		w.records.forget()
		w.pool.Retire()
		delete(w.names, host)
		if a.resolves {
			w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		}
		w.use(a.def, w.partnerRoute(func(r *rule) {
			p := *r.plan.Upstream
			p.AllowPrivate = a.allowPrivate
			r.plan.Upstream, r.plan.Cleartext, r.route.Mode = &p, a.allowsClear, a.mode
			r.route.To.Paths, r.plan.Inject, r.plan.EditedBody = paths(w.t, "/v1/**"), plans[a.form], 1<<10
		}))
		o := origins[a.origin]
		before := map[string]int{}
		for name, o := range origins {
			before[name] = bytes.Count(o.got(), []byte(canary))
		}
		a.send(w, o)
		w.quiet()
		for name, o := range origins {
			got, want := bytes.Count(o.got(), []byte(canary))-before[name], 0
			if name == a.origin && a.mayCarry() {
				want = 1
			}
			if got != want {
				t.Fatalf("%+v: canary %d times at %s, want %d; records %+v", a, got, name, want, w.records.of(audit.KindRequest))
			}
			if name == a.origin && len(w.records.of(audit.KindCredential)) != want {
				t.Fatalf("%+v: %d intents, want %d", a, len(w.records.of(audit.KindCredential)), want)
			}
		}
		if n := len(w.records.of(audit.KindRequest)) + len(w.records.of(audit.KindConnection)); n != 1 {
			t.Fatalf("%+v: %d records of one request", a, n)
		}
	}
	// The one that may carry it comes first: chance could draw bad ones alone.
	good := attempt{pid: appPID, sni: host, name: host, method: "POST", path: "/v1/x", form: "bearer", origin: "good", resolves: true, allowPrivate: true, mode: policy.Enforce}
	if !good.mayCarry() {
		t.Fatal("the oracle allows nothing")
	}
	judge(t, good)
	rapid.Check(t, func(t *rapid.T) { judge(t, drawAttempt(t)) })
}

// failer is a test, or one draw of a property.
type failer interface {
	Fatalf(format string, args ...any)
}

// send makes the one request; how it ends does not matter here.
func (a *attempt) send(w *world, o *origin) {
	const body = `{"k":"` + lure + `"}`
	request := a.method + " " + a.path + " HTTP/1.1\r\nHost: " + a.name + "\r\nX-Key: " + lure + "\r\nContent-Type: application/json\r\nContent-Length: " +
		strconv.Itoa(len(body)) + "\r\n\r\n" + body
	if strings.EqualFold(a.method, "trace") { // it has no content
		request = a.method + " " + a.path + " HTTP/1.1\r\nHost: " + a.name + "\r\n\r\n"
	}
	who := as{pid: a.pid, original: o.addr}
	raw := w.dial(who)
	if a.clear {
		talk(w.t, raw, request)
		return
	}
	c := tls.Client(raw, &tls.Config{ServerName: a.sni, InsecureSkipVerify: true})
	if c.Handshake() != nil {
		_ = raw.Close()
		return
	}
	talk(w.t, c, request)
}
