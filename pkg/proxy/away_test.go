package proxy_test

import (
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/outwarden/outwarden/pkg/policy"
)

const imds = "169.254.169.254"

// TestNoWayOut: we are no way out for a workload in another network namespace, or
// a guest, that has none, and none to what is meant for the host alone, unless a
// route names that. Nothing is dialled.
func TestNoWayOut(t *testing.T) {
	var dialled atomic.Int32
	w := newWorld(t, func(o *options) {
		o.Dial = func(netip.Addr, netip.AddrPort, bool) (int, error) {
			dialled.Add(1)
			return -1, errors.New("no network in this test")
		}
	})
	everything := rule{route: policy.Route{Name: "everything", Action: policy.Passthrough}}
	named := rule{route: policy.Route{Name: "named", Action: policy.Passthrough, To: policy.To{Hosts: hosts(t, imds)}}}
	named.plan.Hosts = named.route.To.Hosts
	at := func(ip string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(ip), 443) }
	for name, c := range map[string]struct {
		who    as
		rules  []rule
		reason string // of the record
	}{
		"no route there":               {as{original: at("203.0.113.7"), away: true}, nil, "network_unreachable"},
		"named, but no route there":    {as{original: at("203.0.113.7"), away: true}, []rule{everything}, "network_unreachable"},
		"metadata":                     {as{original: at(imds), away: true}, nil, "address_denied"},
		"metadata, any destination":    {as{original: at(imds), away: true}, []rule{everything}, "address_denied"},
		"metadata of a guest":          {as{original: at(imds), guest: true}, nil, "address_denied"},
		"metadata, named":              {as{original: at(imds), away: true}, []rule{named}, "upstream_unreachable"},
		"a route of its own":           {as{original: at("198.51.100.7"), away: true}, nil, "upstream_unreachable"},
		"here, where we have no route": {as{original: at("203.0.113.7")}, nil, "upstream_unreachable"},
		"here, metadata":               {as{original: at(imds)}, nil, "upstream_unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			before := dialled.Load()
			w.records.forget()
			w.use(policy.Passthrough, c.rules...)
			if conn, err := w.tryDial(c.who); err == nil {
				wantReset(t, conn, "\x00opaque")
			}
			if r := w.connection(); r.Reason != c.reason {
				t.Errorf("record %+v, want reason %s", r, c.reason)
			}
			if n := dialled.Load() - before; (n == 1) != (c.reason == "upstream_unreachable") {
				t.Errorf("dialled %d times", n)
			}
		})
	}
}
