package inject

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// oracle lists what is wrong with evidence drawn by draw. It is written from
// section 1.1 of the design, plainly, and shares nothing with Bind: not its
// canonical names, not its patterns, not its address ranges.
func oracle(c *cards) map[flow.Reason]bool {
	wrong := map[flow.Reason]bool{}
	no := func(ok bool, r flow.Reason) {
		if !ok {
			wrong[r] = true
		}
	}
	host, port, found := strings.Cut(c.authority, ":")
	host, sni := plainName(host), plainName(c.sni)
	no(c.kernel, flow.ReasonNoRecord)
	no(!strings.Contains(" TRACE OPTIONS CONNECT ", " "+strings.ToUpper(c.method)+" "), flow.ReasonMethodForbids)
	if c.tls {
		no(c.sni != "", flow.ReasonNoServerName)
		no(sni == host, flow.ReasonAuthorityMismatch)
	} else {
		no(c.cleartext, flow.ReasonCleartext)
	}
	no(!found || port == "443", flow.ReasonAuthorityMismatch)
	no(c.route == "*.partner.example" && strings.HasSuffix(host, ".partner.example") || c.route == host, flow.ReasonAuthorityMismatch)
	no(!strings.HasPrefix(host, "203."), flow.ReasonAddressNotResolved)
	no(c.resolved, flow.ReasonAddressNotResolved)
	no(addressFine(c.remote, c.private), flow.ReasonAddressDenied)
	no(c.version == "1.2" || c.version == "1.3", flow.ReasonUpstreamUnverified)
	no(c.verified != "", flow.ReasonUpstreamUnverified)
	no(c.verified == host, flow.ReasonUpstreamName)
	no(c.poolRoute == "r" && c.poolHost == host && c.poolPort == 443 && c.poolCredential == 2 && c.poolProfile == "v2" &&
		c.egress == "198.51.100.20", flow.ReasonPoolMismatch)
	return wrong
}

func plainName(s string) string { return strings.TrimSuffix(strings.ToLower(s), ".") }

// addressFine knows only the addresses that are drawn.
func addressFine(s string, private bool) bool {
	switch s {
	case "203.0.113.10", "2001:db8::10":
		return true
	case "10.0.0.1", "192.168.1.1", "172.31.0.1", "100.64.0.1", "fd12::1", "::ffff:10.0.0.1", "127.0.0.1", "::1":
		return private
	}
	return false
}

// cards are the facts that a run of the property test is dealt.
type cards struct {
	kernel, tls, cleartext, resolved, private                bool
	method, sni, authority, route, remote, version, verified string
	poolRoute, poolHost, poolProfile, egress                 string
	poolPort, poolCredential                                 int
}

var names = []string{"api.partner.example", "API.partner.example", "api.partner.example.", "evil.example", "x.partner.example", "partner.example", "203.0.113.10"}

// draw deals facts that are mostly good, so that permits happen often enough.
func draw(t *rapid.T) *cards {
	mostly := func(name string) bool { return rapid.IntRange(0, 15).Draw(t, name) != 0 }
	pick := func(name string, good string, others ...string) string {
		if mostly(name) {
			return good
		}
		return rapid.SampledFrom(others).Draw(t, name+" other")
	}
	all := func(name string) string { return rapid.SampledFrom(names).Draw(t, name) }
	c := &cards{
		kernel: mostly("kernel"), tls: mostly("tls"), cleartext: rapid.Bool().Draw(t, "cleartext"),
		resolved: mostly("resolved"), private: rapid.Bool().Draw(t, "private"),
		method:    pick("method", "POST", "GET", "TRACE", "OPTIONS", "CONNECT", "Trace", "options"),
		route:     pick("route", "api.partner.example", "*.partner.example", "evil.example", "203.0.113.10", "x.partner.example"),
		remote:    pick("remote", "203.0.113.10", addresses...),
		version:   pick("version", "1.3", "1.2", "1.1", "1.0", ""),
		poolRoute: pick("pool route", "r", "other"), poolProfile: pick("pool profile", "v2", "v1"),
		egress: pick("egress", "198.51.100.20", "198.51.100.21"), poolPort: 443, poolCredential: 2,
	}
	c.sni = all("sni")
	c.authority = c.sni
	if !mostly("authority") {
		c.authority = all("authority other")
	}
	c.authority += pick("port", "", ":443", ":8443")
	// The connection was made for what the handshake said, or for what the request says.
	origin, _, _ := strings.Cut(rapid.SampledFrom([]string{c.sni, c.authority}).Draw(t, "origin"), ":")
	c.verified = pick("verified", plainName(origin), append(names[3:], "")...)
	c.poolHost = pick("pool host", plainName(origin), names[3:]...)
	if !mostly("no sni") {
		c.sni = ""
	}
	if !mostly("pool port") {
		c.poolPort = 8443
	}
	if !mostly("pool credential") {
		c.poolCredential = 1
	}
	return c
}

var addresses = []string{
	"2001:db8::10", "10.0.0.1", "192.168.1.1", "172.31.0.1", "100.64.0.1", "fd12::1", "::ffff:10.0.0.1", "127.0.0.1", "::1",
	"169.254.169.254", "fe80::1", "fd00:ec2::254", "::ffff:169.254.169.254", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255",
	"64:ff9b::a9fe:a9fe",
}

// evidence puts the cards into the form that Bind takes.
func (c *cards) evidence(t testing.TB, plans [3]*Plan) *Evidence {
	versions := map[string]uint16{"1.3": tls.VersionTLS13, "1.2": tls.VersionTLS12, "1.1": tls.VersionTLS11, "1.0": tls.VersionTLS10}
	profile := &upstream.Profile{Name: "p", Version: "v2", EgressIP: netip.MustParseAddr("198.51.100.20"), AllowPrivate: c.private}
	f := &flow.Flow{Cookie: 1, Original: netip.MustParseAddrPort("192.0.2.66:443"), Caller: flow.Caller{PID: 9}}
	if !c.kernel {
		f.Caller.PID = 0
	}
	host, _, _ := strings.Cut(c.authority, ":")
	key := upstream.Key{Route: "r", Host: plainName(host), Port: 443, Credentials: plans[2].Key(), Profile: profile.ID()}
	pooled := upstream.Key{
		Route: c.poolRoute, Host: c.poolHost, Port: uint16(c.poolPort),
		Credentials: plans[c.poolCredential].Key(), Profile: upstream.ProfileID{Name: "p", Version: c.poolProfile},
	}
	return &Evidence{
		Plan: plans[2], Flow: f, Terminated: c.tls, ServerName: c.sni, Method: c.method, Authority: c.authority,
		Hosts: hosts(t, c.route), Cleartext: c.cleartext, Key: key, Profile: profile,
		Upstream: &upstream.Facts{
			Key: pooled, Remote: netip.AddrPortFrom(netip.MustParseAddr(c.remote), 443), EgressIP: netip.MustParseAddr(c.egress),
			Resolved: c.resolved, ServerName: c.verified, TLS: versions[c.version],
		},
	}
}

// TestBindAgainstOracle: over random facts, a permit is given exactly where the
// oracle finds nothing wrong, and a refusal's reason is one of what it finds.
func TestBindAgainstOracle(t *testing.T) {
	var plans [3]*Plan
	for i := range plans {
		plans[i] = plan(t, Credential{Name: "token", Version: string(rune('0' + i)), Form: Bearer, Value: value("abc")})
	}
	const outcomes = 11 // a permit and ten reasons
	permits, refusals := 0, map[flow.Reason]int{}
	rapid.Check(t, func(rt *rapid.T) {
		for range 200 { // many hands a check: rapid's own count is for shrinking
			c := draw(rt)
			e := c.evidence(t, plans)
			permit, reason := Bind(e)
			wrong := oracle(c)
			switch {
			case reason == flow.ReasonNone && len(wrong) > 0:
				rt.Fatalf("permitted, but wrong is %v\n%+v", wrong, *c)
			case reason != flow.ReasonNone && !wrong[reason]:
				rt.Fatalf("refused with %v, but wrong is %v\n%+v", reason, wrong, *c)
			case (reason == flow.ReasonNone) != (permit == Permit{e.Upstream, plans[2], c.method, c.authority}):
				rt.Fatalf("reason %v with permit %+v", reason, permit)
			}
			if refusals[reason]++; reason == flow.ReasonNone {
				permits++
			}
		}
	})
	if permits == 0 || len(refusals) < outcomes {
		t.Errorf("the test saw %d permits and %d outcomes: %v", permits, len(refusals), refusals)
	}
	t.Logf("%d permits; outcomes %v", permits, refusals)
}
