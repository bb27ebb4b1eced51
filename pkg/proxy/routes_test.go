package proxy_test

import (
	"testing"

	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/match"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/proxy"
	"github.com/outwarden/outwarden/pkg/secret"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// rule is a route with its plan.
type rule struct {
	route policy.Route
	plan  proxy.Plan
}

// use loads a configuration.
func (w *world) use(def policy.Action, rules ...rule) *proxy.Snapshot {
	s := w.snapshot(def, rules...)
	w.proxy.SetSnapshot(s)
	return s
}

func (w *world) snapshot(def policy.Action, rules ...rule) *proxy.Snapshot {
	s := &proxy.Snapshot{Upstream: inject.Over(w.pool), Default: w.profile("default")}
	var routes []policy.Route
	for _, r := range rules {
		routes = append(routes, r.route)
		r.plan.Hosts = r.route.To.Hosts
		s.Plans = append(s.Plans, r.plan)
	}
	s.Policy = policy.New(routes, def)
	return s
}

func (w *world) profile(name string) *upstream.Profile {
	return &upstream.Profile{Name: name, Roots: w.partner.pool(), AllowPrivate: true, Version: "1"}
}

// partnerRoute gives the application the canary as a bearer token for host.
func (w *world) partnerRoute(change ...func(*rule)) rule {
	w.t.Helper()
	r := rule{
		route: policy.Route{
			Name: "partner", Action: policy.Intercept, To: policy.To{Hosts: hosts(w.t, host)},
			From: policy.From{Exe: globs(w.t, "/opt/app/*")},
		},
		plan: proxy.Plan{Inject: bearer(w.t), Upstream: w.profile("partner"), SignedBody: 1 << 20},
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

func bearer(t testing.TB) *inject.Plan {
	t.Helper()
	return credentials(t, inject.Credential{Name: "token", Version: "1", Form: inject.Bearer, Value: secret.New([]byte(canary))})
}

func credentials(t testing.TB, c ...inject.Credential) *inject.Plan {
	t.Helper()
	p, err := inject.NewPlan(c, nil)
	must(t, err)
	return p
}

func hosts(t testing.TB, patterns ...string) (out []match.Host) {
	t.Helper()
	for _, p := range patterns {
		h, err := match.ParseHost(p)
		must(t, err)
		out = append(out, h)
	}
	return out
}

func globs(t testing.TB, patterns ...string) (out []match.Glob) {
	t.Helper()
	for _, p := range patterns {
		g, err := match.ParseGlob(p)
		must(t, err)
		out = append(out, g)
	}
	return out
}

func paths(t testing.TB, patterns ...string) (out []match.Path) {
	t.Helper()
	for _, s := range patterns {
		p, err := match.ParsePath(s)
		must(t, err)
		out = append(out, p)
	}
	return out
}
