package policy_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/match"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/process"
)

const digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

func billing() *process.Identity {
	return &process.Identity{
		PID: 7, Exe: "/opt/billing/bin/pay", ExeSHA256: digest, UID: 1000, User: "billing",
		Unit: "billing.service", Cgroup: "/system.slice/billing.service",
	}
}

// gone is what is left of a process that had exited: what the kernel gave.
func gone() *process.Identity {
	return &process.Identity{PID: 7, UID: 1000, Gone: true}
}

func TestDecide(t *testing.T) {
	p := policy.New([]policy.Route{
		route("no-delete", "api.example", policy.Deny, methods("DELETE")),
		route("no-admin", "api.example", policy.Deny, paths("/admin/**")),
		route("pay", "api.example", policy.Intercept, exe("/opt/billing/bin/*"), ports(443), methods("GET", "POST"), paths("/v1/**")),
		route("below", "*.example", policy.Passthrough),
		route("metadata", "169.254.0.0/16", policy.Deny),
		route("curl", "*", policy.Deny, exe("**/curl")),
	}, policy.Passthrough)
	tests := []struct {
		name   string
		ask    policy.Request
		route  string
		action policy.Action
		reason flow.Reason
	}{
		{"all agrees", req("api.example", "GET", "/v1/x"), "pay", policy.Intercept, flow.ReasonNone},
		{"empty path below a pattern", req("api.example", "GET", "/v1"), "pay", policy.Intercept, flow.ReasonNone},
		{"method denied", req("api.example", "DELETE", "/v1/x"), "no-delete", policy.Deny, flow.ReasonRouteDenies},
		{"method denied in another case", req("api.example", "delete", "/v1/x"), "no-delete", policy.Deny, flow.ReasonRouteDenies},
		{"path denied", req("api.example", "GET", "/admin/users"), "no-admin", policy.Deny, flow.ReasonRouteDenies},
		{"path ambiguous", req("api.example", "GET", "/v1/../admin/users"), "no-admin", policy.Deny, flow.ReasonPathAmbiguous},
		{"path not of the route", req("api.example", "GET", "/v2"), "below", policy.Passthrough, flow.ReasonNone},
		{"port not of the route", with(req("api.example", "GET", "/v1/x"), port(8443)), "below", policy.Passthrough, flow.ReasonNone},
		{"another executable", with(req("api.example", "GET", "/v1/x"), runs("/usr/bin/wget")), "below", policy.Passthrough, flow.ReasonNone},
		{"a name below", req("x.y.example", "GET", "/"), "below", policy.Passthrough, flow.ReasonNone},
		{"ambiguous where no route looks", req("x.example", "GET", "/../a"), "below", policy.Passthrough, flow.ReasonNone},
		{"the name itself is not below", req("example", "GET", "/"), "", policy.Passthrough, flow.ReasonIdentityMismatch},
		{"an address of a network", req("169.254.169.254", "GET", "/"), "metadata", policy.Deny, flow.ReasonRouteDenies},
		{"a name at an address of a network", with(req("other.test", "GET", "/"), at("169.254.169.254")), "metadata", policy.Deny, flow.ReasonRouteDenies},
		{"the same, mapped", with(req("", "GET", "/"), at("::ffff:169.254.169.254")), "metadata", policy.Deny, flow.ReasonRouteDenies},
		{"a name passed before", with(req("x.example", "GET", "/"), at("169.254.169.254")), "below", policy.Passthrough, flow.ReasonNone},
		{"a name at another address", with(req("other.test", "GET", "/"), at("198.51.100.7")), "", policy.Passthrough, flow.ReasonIdentityMismatch},
		{"any host, this executable", with(req("other.test", "GET", "/"), runs("/usr/bin/curl")), "curl", policy.Deny, flow.ReasonRouteDenies},
		{"unknown host", with(req("", "GET", "/"), runs("/usr/bin/curl")), "curl", policy.Deny, flow.ReasonRouteDenies},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := p.Decide(&tt.ask)
			if got.Name != tt.route || got.Action != tt.action || got.Reason != tt.reason {
				t.Errorf("%q %v (%v), want %q %v (%v)", got.Name, got.Action, got.Reason, tt.route, tt.action, tt.reason)
			}
		})
	}
}

// Nothing matched: the reason is the nearest miss, and the default decides.
func TestNearestMiss(t *testing.T) {
	p := policy.New([]policy.Route{
		route("a", "api.example", policy.Intercept, exe("/bin/a"), paths("/v1/**")),
		route("b", "api.example", policy.Intercept, exe("/bin/b")),
	}, policy.Deny)
	tests := []struct {
		ask  policy.Request
		want flow.Reason
	}{
		{with(req("other.example", "GET", "/v1/x"), runs("/bin/a")), flow.ReasonNoRoute},
		{with(req("api.example", "GET", "/v1/x"), runs("/bin/c")), flow.ReasonIdentityMismatch},
		{with(req("api.example", "GET", "/v2/x"), runs("/bin/a")), flow.ReasonRequestMismatch},
	}
	for _, tt := range tests {
		got := p.Decide(&tt.ask)
		if got.Route != -1 || got.Name != "" || got.Action != policy.Deny || got.Reason != tt.want {
			t.Errorf("%+v: %+v, want the default for %v", tt.ask, got, tt.want)
		}
	}
}

// Every condition of From fails alone, and fails where nothing is known.
func TestFrom(t *testing.T) {
	froms := map[string]policy.From{
		"exe":        {Exe: globs("/opt/**")},
		"exe_sha256": {ExeSHA256: []string{digest}},
		"user name":  {Users: []string{"billing"}},
		"unit":       {Units: globs("billing*.service")},
		"cgroup":     {Cgroups: globs("/system.slice/**")},
		"any exe":    {Exe: globs("**")},
	}
	for name, from := range froms {
		p := policy.New([]policy.Route{{Name: "r", From: from, Action: policy.Intercept}}, policy.Passthrough)
		for who, id := range map[string]*process.Identity{"billing": billing(), "gone": gone(), "nobody": nil} {
			got := p.Decide(&policy.Request{Process: id, Host: "a.example", Port: 443, Method: "GET", Path: "/"})
			if want := who == "billing"; (got.Route == 0) != want {
				t.Errorf("%s of %s: matched %v, want %v", name, who, got.Route == 0, want)
			}
			if got.Route < 0 && got.Reason != flow.ReasonIdentityMismatch {
				t.Errorf("%s of %s: %v", name, who, got.Reason)
			}
		}
	}
	// The uid comes from the kernel, so it is known of a process that has gone.
	uid := policy.New([]policy.Route{{Name: "r", From: policy.From{Users: []string{"1000"}}, Action: policy.Intercept}}, policy.Passthrough)
	if got := uid.Decide(&policy.Request{Process: gone()}); got.Route != 0 {
		t.Errorf("uid of a process that has gone: %+v", got)
	}
	if got := uid.Decide(&policy.Request{}); got.Route != -1 {
		t.Errorf("uid of no process: %+v", got)
	}
	// Two conditions must both hold.
	both := policy.New([]policy.Route{{From: policy.From{Exe: globs("/opt/**"), Users: []string{"root", "0"}}}}, policy.Deny)
	if got := both.Decide(&policy.Request{Process: billing()}); got.Route != -1 {
		t.Errorf("one condition of two was enough: %+v", got)
	}
}

func TestConnection(t *testing.T) {
	looks := paths("/v1/**")
	tests := []struct {
		name   string
		routes []policy.Route
		def    policy.Action
		want   policy.Decision
		effect policy.Action
	}{
		{"no route", nil, policy.Passthrough, policy.Decision{Route: -1, Reason: flow.ReasonNoRoute}, policy.Passthrough},
		{"no route, default deny", nil, policy.Deny, policy.Decision{Route: -1, Action: policy.Deny, Reason: flow.ReasonNoRoute}, policy.Deny},
		{"for another process", rs(route("a", "h.example", policy.Intercept, exe("/bin/x"))), policy.Passthrough,
			policy.Decision{Route: -1, Reason: flow.ReasonIdentityMismatch}, policy.Passthrough},
		{"passthrough", rs(route("a", "h.example", policy.Passthrough)), policy.Deny,
			policy.Decision{Name: "a"}, policy.Passthrough},
		{"deny", rs(route("a", "h.example", policy.Deny)), policy.Passthrough,
			policy.Decision{Name: "a", Action: policy.Deny, Reason: flow.ReasonRouteDenies}, policy.Deny},
		{"intercept", rs(route("a", "h.example", policy.Intercept)), policy.Passthrough,
			policy.Decision{Name: "a", Action: policy.Intercept}, policy.Intercept},
		{"a deny that looks inside, then passthrough", rs(route("a", "h.example", policy.Deny, looks), route("b", "h.example", policy.Passthrough)), policy.Passthrough,
			policy.Decision{Name: "a", Action: policy.Intercept}, policy.Intercept},
		{"a deny that looks inside, then one that injects", rs(route("a", "h.example", policy.Deny, looks), route("b", "h.example", policy.Intercept)), policy.Passthrough,
			policy.Decision{Route: 1, Name: "b", Action: policy.Intercept}, policy.Intercept},
		{"two that look inside, default deny", rs(route("a", "h.example", policy.Deny, looks), route("b", "h.example", policy.Intercept, methods("GET"))), policy.Deny,
			policy.Decision{Route: 1, Name: "b", Action: policy.Intercept}, policy.Intercept},
		{"what comes after the first that does not look inside has no say",
			rs(route("a", "h.example", policy.Passthrough), route("b", "h.example", policy.Intercept, looks)), policy.Passthrough,
			policy.Decision{Name: "a"}, policy.Passthrough},
		{"deny in report", rs(route("a", "h.example", policy.Deny, mode(policy.Report))), policy.Passthrough,
			policy.Decision{Name: "a", Action: policy.Deny, Mode: policy.Report, Reason: flow.ReasonRouteDenies}, policy.Passthrough},
		{"intercept in report", rs(route("a", "h.example", policy.Intercept, mode(policy.Report))), policy.Passthrough,
			policy.Decision{Name: "a", Action: policy.Intercept, Mode: policy.Report}, policy.Intercept},
		{"intercept in observe", rs(route("a", "h.example", policy.Intercept, mode(policy.Observe))), policy.Deny,
			policy.Decision{Name: "a", Action: policy.Intercept, Mode: policy.Observe}, policy.Passthrough},
		{"observe that looks inside", rs(route("a", "h.example", policy.Intercept, mode(policy.Observe), looks)), policy.Passthrough,
			policy.Decision{Name: "a", Action: policy.Intercept, Mode: policy.Observe}, policy.Passthrough},
		{"observe that looks inside, then deny", rs(route("a", "h.example", policy.Intercept, mode(policy.Observe), looks), route("b", "h.example", policy.Deny)), policy.Passthrough,
			policy.Decision{Route: 1, Name: "b", Action: policy.Deny, Reason: flow.ReasonRouteDenies}, policy.Deny},
		{"observe that looks inside, default deny", rs(route("a", "h.example", policy.Intercept, mode(policy.Observe), looks)), policy.Deny,
			policy.Decision{Route: -1, Action: policy.Intercept}, policy.Intercept},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ask := req("h.example", "", "")
			got := policy.New(tt.routes, tt.def).Connection(&ask)
			if got != tt.want || got.Effective() != tt.effect {
				t.Errorf("%+v, in effect %v; want %+v, %v", got, got.Effective(), tt.want, tt.effect)
			}
		})
	}
}

// An ambiguous path never earns a credential, whatever the modes.
// TestByName: a route holds by the name alone where it does not name the address.
func TestByName(t *testing.T) {
	observed := route("observed", "o.example", policy.Passthrough)
	observed.Mode = policy.Observe
	mixed := route("mixed", "m.example", policy.Passthrough)
	for _, more := range []string{"192.0.2.7", "2001:db8::/32"} {
		h, err := match.ParseHost(more)
		if err != nil {
			t.Fatal(err)
		}
		mixed.To.Hosts = append(mixed.To.Hosts, h)
	}
	everywhere := route("everywhere", "*", policy.Passthrough, ports(8443))
	p := policy.New([]policy.Route{
		route("named", "n.example", policy.Passthrough), route("below", "*.b.example", policy.Intercept), mixed, observed,
		route("denied", "d.example", policy.Deny), everywhere,
	}, policy.Passthrough)
	for _, c := range []struct {
		host, addr string
		port       uint16
		want       bool
	}{
		{"n.example", "192.0.2.7", 443, true}, {"x.b.example", "192.0.2.7", 443, true},
		{"m.example", "192.0.2.7", 443, false}, {"m.example", "::ffff:192.0.2.7", 443, false}, {"m.example", "2001:db8::1", 443, false},
		{"m.example", "192.0.2.8", 443, true}, {"m.example", "2001:db9::1", 443, true}, {"192.0.2.7", "192.0.2.8", 443, true},
		{"o.example", "192.0.2.8", 443, false}, {"d.example", "192.0.2.8", 443, false},
		{"other.example", "192.0.2.8", 443, false}, {"other.example", "192.0.2.8", 8443, false},
	} {
		d := p.Connection(&policy.Request{Host: c.host, Port: c.port})
		if got := p.ByName(d, netip.MustParseAddr(c.addr)); got != c.want {
			t.Errorf("%s at %s, by route %q: %v, want %v", c.host, c.addr, d.Name, got, c.want)
		}
	}
}

func TestAmbiguousInOtherModes(t *testing.T) {
	ask := req("h.example", "GET", "/v1/%2e%2e/admin")
	for _, m := range []policy.Mode{policy.Observe, policy.Report} {
		first := route("a", "h.example", policy.Deny, paths("/admin/**"), mode(m))
		got := policy.New(rs(first, route("b", "h.example", policy.Intercept)), policy.Passthrough).Decide(&ask)
		if got.Name != "a" || got.Reason != flow.ReasonPathAmbiguous || got.Effective() != policy.Passthrough {
			t.Errorf("%v, then intercept: %+v", m, got)
		}
		got = policy.New(rs(first, route("b", "h.example", policy.Deny)), policy.Passthrough).Decide(&ask)
		if got.Name != "b" || got.Effective() != policy.Deny {
			t.Errorf("%v, then deny: %+v", m, got)
		}
		got = policy.New(rs(first), policy.Deny).Decide(&ask)
		if got.Route != -1 || got.Effective() != policy.Deny {
			t.Errorf("%v, default deny: %+v", m, got)
		}
	}
}

func TestNames(t *testing.T) {
	for _, a := range []policy.Action{policy.Passthrough, policy.Intercept, policy.Deny} {
		if got, err := policy.ParseAction(a.String()); err != nil || got != a {
			t.Errorf("action %v: %v, %v", a, got, err)
		}
	}
	for _, m := range []policy.Mode{policy.Enforce, policy.Observe, policy.Report} {
		if got, err := policy.ParseMode(m.String()); err != nil || got != m {
			t.Errorf("mode %v: %v, %v", m, got, err)
		}
	}
	if _, err := policy.ParseAction("allow"); err == nil {
		t.Error("action allow is known")
	}
	if _, err := policy.ParseMode("off"); err == nil {
		t.Error("mode off is known")
	}
}

type option func(*policy.Route)

func route(name, host string, action policy.Action, options ...option) policy.Route {
	r := policy.Route{Name: name, Action: action, To: policy.To{Hosts: []match.Host{must(match.ParseHost(host))}}}
	for _, o := range options {
		o(&r)
	}
	return r
}

func rs(routes ...policy.Route) []policy.Route { return routes }

func exe(s string) option                 { return func(r *policy.Route) { r.From.Exe = globs(s) } }
func ports(p ...uint16) option            { return func(r *policy.Route) { r.To.Ports = p } }
func methods(m ...string) option          { return func(r *policy.Route) { r.To.Methods = m } }
func mode(m policy.Mode) option           { return func(r *policy.Route) { r.Mode = m } }
func port(p uint16) func(*policy.Request) { return func(r *policy.Request) { r.Port = p } }

func at(a string) func(*policy.Request) {
	return func(r *policy.Request) { r.Addr = netip.MustParseAddr(a) }
}

func paths(patterns ...string) option {
	return func(r *policy.Route) {
		for _, s := range patterns {
			r.To.Paths = append(r.To.Paths, must(match.ParsePath(s)))
		}
	}
}

func runs(path string) func(*policy.Request) {
	return func(r *policy.Request) {
		r.Process = billing()
		r.Process.Exe = path
	}
}

func req(host, method, path string) policy.Request {
	return policy.Request{Process: billing(), Host: host, Port: 443, Method: method, Path: path}
}

func with(r policy.Request, change func(*policy.Request)) policy.Request {
	change(&r)
	return r
}

func globs(patterns ...string) (globs []match.Glob) {
	for _, s := range patterns {
		globs = append(globs, must(match.ParseGlob(s)))
	}
	return globs
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(fmt.Sprint("test data: ", err))
	}
	return value
}
