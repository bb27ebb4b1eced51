package policy_test

import (
	"testing"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/policy"
)

// Who names another method in a field gets no more than he would with either.
func TestDecideEither(t *testing.T) {
	read := route("read", "api.example", policy.Intercept, methods("GET", "POST"))
	reported := route("read", "api.example", policy.Intercept, methods("GET", "POST"), mode(policy.Report))
	observed := route("read", "api.example", policy.Intercept, methods("GET", "POST"), mode(policy.Observe))
	noDelete := route("no-delete", "*", policy.Deny, methods("DELETE"))
	all := route("all", "*", policy.Intercept)
	write := route("write", "*", policy.Intercept, methods("PUT"))
	for name, c := range map[string]struct {
		p                *policy.Policy
		method, override string
		want             policy.Decision
	}{
		"both are allowed": {policy.New(rs(read), policy.Deny), "POST", "get", policy.Decision{Name: "read", Action: policy.Intercept}},
		"the other gets no credential": {policy.New(rs(read), policy.Passthrough), "POST", "DELETE",
			policy.Decision{Name: "read", Action: policy.Deny, Reason: flow.ReasonRequestMismatch}},
		"the other is denied by default": {policy.New(rs(read), policy.Deny), "POST", "DELETE",
			policy.Decision{Route: -1, Action: policy.Deny, Reason: flow.ReasonRequestMismatch}},
		"the other is denied": {policy.New(rs(noDelete, all), policy.Passthrough), "POST", "delete",
			policy.Decision{Name: "no-delete", Action: policy.Deny, Reason: flow.ReasonRouteDenies}},
		"the other gets another credential": {policy.New(rs(read, write), policy.Passthrough), "GET", "PUT",
			policy.Decision{Name: "read", Action: policy.Deny, Reason: flow.ReasonRequestMismatch}},
		"the other alone gets a credential": {policy.New(rs(read), policy.Passthrough), "DELETE", "GET",
			policy.Decision{Route: -1, Action: policy.Passthrough, Reason: flow.ReasonRequestMismatch}},
		"it is denied itself": {policy.New(rs(read), policy.Deny), "DELETE", "GET",
			policy.Decision{Route: -1, Action: policy.Deny, Reason: flow.ReasonRequestMismatch}},
		"a route that reports": {policy.New(rs(reported), policy.Passthrough), "GET", "PUT",
			policy.Decision{Name: "read", Action: policy.Deny, Mode: policy.Report, Reason: flow.ReasonRequestMismatch}},
		"a route that observes": {policy.New(rs(observed), policy.Passthrough), "GET", "PUT",
			policy.Decision{Name: "read", Action: policy.Intercept, Mode: policy.Observe}},
	} {
		ask := req("api.example", "", "")
		s := c.p.Shortlist(&ask)
		if got := s.DecideEither(c.method, c.override, "/v1/x"); got != c.want || !s.NamesMethods() {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	ask := req("api.example", "", "")
	if s := policy.New(rs(all), policy.Deny).Shortlist(&ask); s.NamesMethods() {
		t.Error("a route without methods names some")
	}
}
