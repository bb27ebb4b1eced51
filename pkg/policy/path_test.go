package policy_test

import (
	"testing"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/policy"
)

// Row C7: ways to reach a denied path under another spelling. No answer lets one
// through: each is denied by the route or refused as ambiguous, and the path that
// was decided on is the one in the request, which nobody rewrites.
func TestPathSpellingsAgainstDeny(t *testing.T) {
	p := policy.New([]policy.Route{
		route("no-admin", "api.example", policy.Deny, paths("/api/admin/**", "/api/v1/users:purge")),
		route("pay", "api.example", policy.Intercept, paths("/api/**")),
	}, policy.Passthrough)
	denied := []string{
		"/api/admin", "/api/admin/", "/api/admin/users", "/api/admin/a;b", "/api/admin/%20", "/api/v1/users:purge", "/api/admin//x", "/api/admin//",
	}
	ambiguous := []string{
		// dot segments
		"/api/v1/../admin", "/api/./admin", "/./api/admin", "/api/v1/..", "/api/.", "/../api/admin",
		"/api/v1/%2e%2e/admin", "/api/v1/%2E%2e/admin", "/api/v1/.%2e/admin", "/api/v1/%2e./admin", "/api/%2e/admin",
		"/api/v1/..;/admin", "/api/v1/..;x=1/admin", "/api/v1/..%3b/admin", "/api/.;/admin",
		// slashes and backslashes
		"//api/admin", "//evil.example/api/admin", "/api//admin", "/api///admin", "/api/v1//../admin", "/api%2fadmin", "/api%2Fadmin", "/api/v1/..%2fadmin",
		`/api\admin`, "/api%5cadmin", "/api/v1%5C..%5cadmin", `/api/v1/..\admin`,
		// encoded once more
		"/api/v1/%252e%252e/admin", "/api%252fadmin", "/api%255cadmin", "/api/admin%2500",
		// overlong forms
		"/api/v1/%c0%ae%c0%ae/admin", "/api%c0%afadmin", "/api%e0%80%afadmin", "/api%f0%80%80%afadmin",
		// letters and marks that need no encoding
		"/api/%61dmin/users", "/api/%61%64%6d%69%6e", "/ap%69/admin", "/%61pi/admin/x", "/api/v1/users%3apurge", "/api/v1/users%3Apurge", "/api/v1/user%73:purge",
		// parameters
		"/api;x/admin", "/api/admin;x/users", "/api/admin;/", "/api;a=b/admin;c=d/x", "/api/%61dmin;x", "/api/admin%3bx/users", "/;x/api/admin", "/api/;/admin",
		// what ends a path or breaks a line
		"/api/admin%00", "/api%00/admin", "/api/admin%0a", "/api/admin%0d%0a", "/api/admin#x", "/api/admin?x", "/api/admin x", "/api/admin\x00", "/api/admin\t",
		// broken encoding, other forms of target
		"/api/admin%", "/api/admin%2", "/api/%u0061dmin", "/api/%zzadmin", "https://api.example/api/admin", "api/admin",
	}
	const strings = 60
	if n := len(denied) + len(ambiguous); n < strings {
		t.Errorf("%d spellings, want at least %d", n, strings)
	}
	for reason, spellings := range map[flow.Reason][]string{flow.ReasonRouteDenies: denied, flow.ReasonPathAmbiguous: ambiguous} {
		for _, path := range spellings {
			ask := req("api.example", "GET", path)
			got := p.Decide(&ask)
			if got.Name != "no-admin" || got.Effective() != policy.Deny || got.Reason != reason {
				t.Errorf("%q: %+v, want it refused for %v", path, got, reason)
			}
			if ask.Path != path {
				t.Errorf("%q was rewritten to %q", path, ask.Path)
			}
		}
	}
	for _, path := range []string{
		"/api/v1", "/api/administrator", "/api/v1/admin", "/api/v1/x;a=1", "/api/caf%C3%A9", "/api/v1/a%3Ab", "/api/%75sers", "/api/v1/users:list", "/api/.../admin", "/api/v1//admin", "/api/v1/objects//a//",
	} {
		ask := req("api.example", "GET", path)
		if got := p.Decide(&ask); got.Name != "pay" || got.Reason != flow.ReasonNone {
			t.Errorf("%q: %+v, want it intercepted", path, got)
		}
	}
}
