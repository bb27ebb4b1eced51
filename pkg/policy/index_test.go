package policy_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/match"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/process"
)

// naive decides by trying every route in turn, as the documentation says it.
func naive(routes []policy.Route, def policy.Action, q *policy.Request) policy.Decision {
	missed := flow.ReasonNoRoute
	for i, r := range routes {
		host := len(r.To.Hosts) == 0 || slices.ContainsFunc(r.To.Hosts, func(h match.Host) bool {
			return h.Match(q.Host) || r.Action == policy.Deny && q.Addr.IsValid() && h.Match(q.Addr.String())
		})
		if !host || len(r.To.Ports) > 0 && !slices.Contains(r.To.Ports, q.Port) {
			continue
		}
		if len(r.From.Exe) > 0 && !slices.ContainsFunc(r.From.Exe, func(g match.Glob) bool { return g.Match(q.Process.Exe) }) {
			missed = max(missed, flow.ReasonIdentityMismatch)
			continue
		}
		if len(r.To.Methods) > 0 && !slices.Contains(r.To.Methods, q.Method) ||
			len(r.To.Paths) > 0 && !slices.ContainsFunc(r.To.Paths, func(p match.Path) bool { return p.Match(q.Path) }) {
			missed = flow.ReasonRequestMismatch
			continue
		}
		reason := flow.ReasonNone
		if r.Action == policy.Deny {
			reason = flow.ReasonRouteDenies
		}
		return policy.Decision{Route: i, Name: r.Name, Action: r.Action, Mode: r.Mode, Reason: reason}
	}
	return policy.Decision{Route: -1, Action: def, Reason: missed}
}

func TestIndexAgainstNaive(t *testing.T) {
	matched := 0
	rapid.Check(t, func(t *rapid.T) {
		routes := rapid.SliceOfN(rapid.Custom(drawRoute), 0, 12).Draw(t, "routes")
		for i := range routes {
			routes[i].Name = fmt.Sprint("r", i)
		}
		def := rapid.SampledFrom([]policy.Action{policy.Passthrough, policy.Intercept, policy.Deny}).Draw(t, "default")
		p := policy.New(routes, def)
		for range 10 {
			q := rapid.Custom(drawRequest).Draw(t, "request")
			got, want := p.Decide(&q), naive(routes, def, &q)
			if got != want {
				t.Fatalf("%+v: %+v, want %+v", q, got, want)
			}
			if got.Route >= 0 {
				matched++
			}
			checkConnection(t, p, &q, got)
		}
	})
	if matched == 0 {
		t.Error("no route matched: the test shows nothing")
	}
}

// checkConnection holds that the connection's decision never does more or less
// than the request's would allow: what a request may be refused or given a
// credential for is decrypted, or refused before.
func checkConnection(t *rapid.T, p *policy.Policy, q *policy.Request, request policy.Decision) {
	connection := p.Connection(q)
	switch connection.Effective() {
	case policy.Intercept:
	case policy.Passthrough, policy.Deny:
		if e := request.Effective(); e != connection.Effective() {
			t.Fatalf("%+v: connection %+v, but the request %+v", q, connection, request)
		}
	}
}

// A route that an earlier one shadows decides nothing.
func TestShadowedRoutesDecideNothing(t *testing.T) {
	shadowed := 0
	rapid.Check(t, func(t *rapid.T) {
		routes := rapid.SliceOfN(rapid.Custom(drawRoute), 2, 8).Draw(t, "routes")
		p := policy.New(routes, policy.Passthrough)
		for _, c := range p.Conflicts() {
			shadowed++
			if c.By >= c.Route {
				t.Fatalf("%+v: shadowed by a later route", c)
			}
			for range 10 {
				q := rapid.Custom(drawRequest).Draw(t, "request")
				if got := p.Decide(&q); got.Route == c.Route {
					t.Fatalf("%+v: %+v is decided by it", c, q)
				}
			}
		}
	})
	if shadowed == 0 {
		t.Error("no route was shadowed: the test shows nothing")
	}
}

func drawRoute(t *rapid.T) policy.Route {
	r := policy.Route{Action: rapid.SampledFrom([]policy.Action{policy.Passthrough, policy.Intercept, policy.Deny}).Draw(t, "action")}
	host := rapid.SampledFrom([]string{"*", "a.example", "b.a.example", "*.example", "*.a.example", "10.0.0.0/8", "10.1.2.3", "10.1.0.0/16", "2001:db8::/32"})
	for _, s := range rapid.SliceOfN(host, 0, 3).Draw(t, "hosts") {
		r.To.Hosts = append(r.To.Hosts, must(match.ParseHost(s)))
	}
	r.To.Ports = rapid.SliceOfN(rapid.SampledFrom([]uint16{80, 443}), 0, 1).Draw(t, "ports")
	r.To.Methods = rapid.SliceOfN(rapid.SampledFrom([]string{"GET", "POST"}), 0, 2).Draw(t, "methods")
	for _, s := range rapid.SliceOfN(rapid.SampledFrom([]string{"/**", "/v1/**", "/v1/*", "/v2"}), 0, 2).Draw(t, "paths") {
		r.To.Paths = append(r.To.Paths, must(match.ParsePath(s)))
	}
	r.From.Exe = globs(rapid.SliceOfN(rapid.SampledFrom([]string{"/bin/a", "/bin/*", "/opt/**"}), 0, 2).Draw(t, "exe")...)
	return r
}

func drawRequest(t *rapid.T) policy.Request {
	return policy.Request{
		Process: &process.Identity{Exe: rapid.SampledFrom([]string{"", "/bin/a", "/bin/b", "/opt/x/y"}).Draw(t, "exe")},
		Host:    rapid.SampledFrom([]string{"", "a.example", "b.a.example", "c.b.a.example", "example", "x.example", "10.1.2.3", "10.2.3.4", "2001:db8::1"}).Draw(t, "host"),
		Addr:    rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("10.2.3.4"), netip.MustParseAddr("192.0.2.1")}).Draw(t, "address"),
		Port:    rapid.SampledFrom([]uint16{80, 443, 8443}).Draw(t, "port"),
		Method:  rapid.SampledFrom([]string{"GET", "POST", "PUT"}).Draw(t, "method"),
		Path:    rapid.SampledFrom([]string{"/", "/v1/x", "/v1/x/y", "/v2"}).Draw(t, "path"),
	}
}

func TestDecidingDoesNotAllocate(t *testing.T) {
	p := policy.New(manyRoutes(100), policy.Deny)
	for _, host := range []string{"h42.example", "deep.h42.example", "other.test", "10.1.2.3", ""} {
		q := req(host, "POST", "/v1/x;a=1/%41")
		q.Addr = netip.MustParseAddr("198.51.100.7")
		if n := testing.AllocsPerRun(100, func() { p.Decide(&q) }); n != 0 {
			t.Errorf("Decide of host %q allocates %v times", host, n)
		}
		if n := testing.AllocsPerRun(100, func() { p.Connection(&q) }); n != 0 {
			t.Errorf("Connection to host %q allocates %v times", host, n)
		}
	}
}

// manyRoutes has an exact host and a suffix each for n/2 hosts, and two routes
// for every host at the end.
func manyRoutes(n int) []policy.Route {
	var routes []policy.Route
	for i := range n / 2 {
		name := fmt.Sprintf("h%d.example", i)
		routes = append(routes,
			route(name, name, policy.Intercept, exe("/opt/**"), methods("GET", "POST"), paths("/v1/**")),
			route("below-"+name, "*."+name, policy.Passthrough, func(r *policy.Route) { r.From.Users = []string{"root", "1000"} }))
	}
	return append(routes, route("metadata", "169.254.0.0/16", policy.Deny), route("curl", "*", policy.Deny, exe("**/curl")))
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 100, 10000} {
		p := policy.New(manyRoutes(n), policy.Passthrough)
		for name, q := range map[string]policy.Request{
			"exact": req("h3.example", "GET", "/v1/x/y"),
			"below": req("a.b.h3.example", "GET", "/v1/x/y"),
			"none":  req("a.other.test", "GET", "/v1/x/y"),
		} {
			b.Run(fmt.Sprintf("%s/routes=%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					p.Decide(&q)
				}
			})
		}
	}
}
