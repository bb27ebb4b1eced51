package policy_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/process"
)

func TestExplain(t *testing.T) {
	p := policy.New([]policy.Route{
		route("other", "other.example", policy.Intercept),
		route("port", "api.example", policy.Intercept, ports(8443)),
		route("exe", "api.example", policy.Intercept, exe("/bin/x")),
		route("digest", "api.example", policy.Intercept, func(r *policy.Route) { r.From.ExeSHA256 = []string{"00"} }),
		route("user", "api.example", policy.Intercept, func(r *policy.Route) { r.From.Users = []string{"root"} }),
		route("unit", "api.example", policy.Intercept, func(r *policy.Route) { r.From.Units = globs("a.service") }),
		route("cgroup", "api.example", policy.Intercept, func(r *policy.Route) { r.From.Cgroups = globs("/user.slice/**") }),
		route("method", "api.example", policy.Intercept, methods("PUT")),
		route("path", "api.example", policy.Intercept, paths("/v2/**")),
		route("this", "api.example", policy.Intercept, methods("GET"), mode(policy.Report)),
		route("never", "api.example", policy.Intercept),
	}, policy.Passthrough)
	ask := req("api.example", "GET", "/v1/x")
	want := []policy.Step{
		{Name: "other", Reason: flow.ReasonNoRoute, Why: "host api.example is not among other.example"},
		{Name: "port", Reason: flow.ReasonNoRoute, Why: "port 443 is not among 8443"},
		{Name: "exe", Reason: flow.ReasonIdentityMismatch, Why: "executable /opt/billing/bin/pay is not among /bin/x"},
		{Name: "digest", Reason: flow.ReasonIdentityMismatch, Why: "executable digest " + digest + " is not among 00"},
		{Name: "user", Reason: flow.ReasonIdentityMismatch, Why: "user billing (1000) is not among root"},
		{Name: "unit", Reason: flow.ReasonIdentityMismatch, Why: "unit billing.service is not among a.service"},
		{Name: "cgroup", Reason: flow.ReasonIdentityMismatch, Why: "cgroup /system.slice/billing.service is not among /user.slice/**"},
		{Name: "method", Reason: flow.ReasonRequestMismatch, Why: "method GET is not among PUT"},
		{Name: "path", Reason: flow.ReasonRequestMismatch, Why: `path "/v1/x" is not among /v2/**`},
		{Name: "this", Matched: true, Why: "intercept, mode report"},
	}
	for i := range want {
		want[i].Route = i
	}
	if got := p.Explain(&ask); !slices.Equal(got, want) {
		t.Errorf("explained\n%+v\nwant\n%+v", got, want)
	}
	if got := p.Decide(&ask); got.Name != "this" {
		t.Errorf("Decide says %+v", got)
	}
}

func TestExplainUnknown(t *testing.T) {
	p := policy.New([]policy.Route{
		route("unit", "*", policy.Intercept, func(r *policy.Route) { r.From.Units = globs("a.service") }),
		route("path", "*", policy.Deny, paths("/v1/**")),
	}, policy.Passthrough)
	tests := []struct {
		ask  policy.Request
		want []string
	}{
		{policy.Request{Method: "GET", Path: "/v1"}, []string{"the process is not known", "deny, mode enforce"}},
		{policy.Request{Process: gone(), Method: "GET", Path: "/.."}, []string{"unit is not known, must be a.service", `path "/.." can be read in two ways`}},
		{policy.Request{Process: &process.Identity{}}, []string{"unit is not known, must be a.service", "decided by the method and path of each request"}},
	}
	for _, tt := range tests {
		var got []string
		for _, step := range p.Explain(&tt.ask) {
			got = append(got, step.Why)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %q, want %q", tt.ask, got, tt.want)
		}
	}
}

// What is explained is what is decided, whatever the routes and the request are.
func TestExplainedIsDecided(t *testing.T) {
	seen := map[string]bool{}
	rapid.Check(t, func(t *rapid.T) {
		routes := rapid.SliceOfN(rapid.Custom(drawRoute), 0, 8).Draw(t, "routes")
		for i := range routes {
			routes[i].Mode = rapid.SampledFrom([]policy.Mode{policy.Enforce, policy.Report, policy.Observe}).Draw(t, "mode")
		}
		p := policy.New(routes, policy.Passthrough)
		for range 10 {
			q := rapid.Custom(drawRequest).Draw(t, "request")
			q.Path = rapid.SampledFrom([]string{q.Path, "/v1/../v2", "/v1/%2e%2e/v2", "/v1//x"}).Draw(t, "spelling")
			decided, steps := p.Decide(&q), p.Explain(&q)
			seen[decided.Reason.String()] = true
			if why := disagree(decided, steps); why != "" {
				t.Fatalf("%+v: %+v, explained by %+v: %s", q, decided, steps, why)
			}
		}
	})
	if len(seen) < 5 {
		t.Errorf("the test shows nothing: %v", seen)
	}
}

// disagree says in what a decision is not the one that its steps lead to.
func disagree(d policy.Decision, steps []policy.Step) string {
	missed, matched := flow.ReasonNoRoute, -1
	for i, s := range steps {
		switch {
		case s.Route != i:
			return "a route is left out"
		case s.Matched:
			matched = i
		case s.Reason != flow.ReasonPathAmbiguous:
			missed = max(missed, s.Reason)
		}
	}
	switch {
	case d.Reason == flow.ReasonPathAmbiguous:
		if d.Route >= len(steps) || steps[d.Route].Reason != d.Reason {
			return "another path is in doubt"
		}
	case d.Route != matched:
		return "another route matches"
	case d.Route < 0 && d.Reason != missed:
		return "another miss is the nearest"
	}
	return ""
}

func TestConflicts(t *testing.T) {
	shadow := func(routes ...policy.Route) string {
		var got []string
		for _, c := range policy.New(routes, policy.Passthrough).Conflicts() {
			got = append(got, c.Name+" by "+c.ByName)
		}
		return strings.Join(got, ", ")
	}
	tests := []struct{ got, want string }{
		{shadow(route("a", "h.example", policy.Deny), route("b", "h.example", policy.Intercept, paths("/x"))), "b by a"},
		{shadow(route("a", "*.example", policy.Deny), route("b", "h.example", policy.Intercept), route("c", "*.h.example", policy.Deny)), "b by a, c by a"},
		{shadow(route("a", "*", policy.Deny), route("b", "10.0.0.0/8", policy.Intercept)), "b by a"},
		{shadow(route("a", "10.0.0.0/8", policy.Deny), route("b", "10.1.2.3", policy.Intercept)), "b by a"},
		{shadow(route("a", "h.example", policy.Deny, exe("/opt/**")), route("b", "h.example", policy.Deny, exe("/opt/x/*"))), "b by a"},
		{shadow(route("a", "h.example", policy.Deny, exe("/opt/x/*")), route("b", "h.example", policy.Deny, exe("/opt/**"))), ""},
		{shadow(route("a", "h.example", policy.Deny, methods("GET")), route("b", "h.example", policy.Deny)), ""},
		{shadow(route("a", "h.example", policy.Deny, methods("get", "PUT")), route("b", "h.example", policy.Deny, methods("GET"))), "b by a"},
		{shadow(route("a", "h.example", policy.Deny, ports(443)), route("b", "h.example", policy.Deny, ports(443, 80))), ""},
		{shadow(route("a", "h.example", policy.Deny), route("b", "g.example", policy.Deny)), ""},
	}
	for i, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("case %d: %q, want %q", i, tt.got, tt.want)
		}
	}
	c := policy.Conflict{Route: 1, By: 0, Name: "b", ByName: "a"}
	if want := `route "b" is never reached: route "a" before it matches all that it does`; c.String() != want {
		t.Errorf("%q, want %q", c, want)
	}
}
