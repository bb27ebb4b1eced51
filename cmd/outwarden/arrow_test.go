package main

import (
	"testing"

	"github.com/outwarden/outwarden/pkg/audit"
)

// A connection that was passed on is not shown as refused because its record
// says why nothing more was done with it.
func TestFlowsArrow(t *testing.T) {
	for _, c := range []struct {
		r    audit.Record
		want string
	}{
		{audit.Record{Decision: "passthrough", Reason: "no_route"}, "⇢"},
		{audit.Record{Decision: "passthrough", Reason: "identity_mismatch"}, "⇢"},
		{audit.Record{Decision: "passthrough", Reason: "listener_gone"}, "⇢"},
		{audit.Record{Decision: "passthrough", Reason: "upstream_unreachable"}, "✗"},
		{audit.Record{Decision: "deny", Reason: "listener_gone"}, "✗"},
		{audit.Record{Decision: "intercept", Reason: "workload_distrusts"}, "✗"},
		{audit.Record{Decision: "intercept", Status: 200}, "→"},
	} {
		if got := arrow(&c.r); got != c.want {
			t.Errorf("%s, reason %q: %s, want %s", c.r.Decision, c.r.Reason, got, c.want)
		}
	}
}
