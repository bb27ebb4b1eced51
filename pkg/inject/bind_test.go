package inject

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/match"
	"github.com/outwarden/outwarden/pkg/secret"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// test is what *testing.T, *testing.B and *rapid.T share.
type test interface {
	Helper()
	Fatal(...any)
}

func value(s string) secret.Value { return secret.New([]byte(s)) }

func plan(t test, credentials ...Credential) *Plan {
	t.Helper()
	p, err := NewPlan(credentials, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func hosts(t testing.TB, list ...string) []match.Host {
	t.Helper()
	var out []match.Host
	for _, s := range list {
		h, err := match.ParseHost(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, h)
	}
	return out
}

// whole is evidence of which every fact is as it should be.
func whole(t testing.TB) *Evidence {
	t.Helper()
	p := plan(t, Credential{Name: "token", Version: "1", Form: Bearer, Value: value("abc")})
	profile := &upstream.Profile{
		Name: "partner", Version: "v1", EgressIP: netip.MustParseAddr("198.51.100.20"), Certificate: &tls.Certificate{},
	}
	key := upstream.Key{Route: "partner", Host: "api.partner.example", Port: 443, Credentials: p.Key(), Profile: profile.ID()}
	return &Evidence{
		Plan: p,
		Flow: &flow.Flow{
			Cookie: 7, Original: netip.MustParseAddrPort("203.0.113.9:443"), Caller: flow.Caller{PID: 42},
		},
		Terminated: true, ServerName: "api.partner.example", Method: "GET", Authority: "api.partner.example",
		Hosts: hosts(t, "api.partner.example"), Key: key, Profile: profile,
		Upstream: &upstream.Facts{
			Key: key, Remote: netip.MustParseAddrPort("203.0.113.10:443"), EgressIP: profile.EgressIP, Resolved: true,
			ServerName: "api.partner.example", TLS: tls.VersionTLS13, ClientCert: [32]byte{1},
		},
	}
}

func TestBindPermitsWhatIsWhole(t *testing.T) {
	e := whole(t)
	permit, reason := Bind(e)
	if reason != flow.ReasonNone || permit == (Permit{}) {
		t.Fatalf("%v %v", permit, reason)
	}
	for name, edit := range map[string]func(*Evidence){
		"case and root dot":  func(e *Evidence) { e.ServerName, e.Authority = "API.Partner.Example", "api.partner.EXAMPLE." },
		"own port":           func(e *Evidence) { e.Authority = "api.partner.example:443" },
		"empty port":         func(e *Evidence) { e.Authority = "api.partner.example:" },
		"wildcard route":     func(e *Evidence) { e.Hosts = hosts(t, "other.example", "*.partner.example") },
		"clear text allowed": func(e *Evidence) { e.Terminated, e.ServerName, e.Cleartext = false, "", true },
		"tls 1.2":            func(e *Evidence) { e.Upstream.TLS = tls.VersionTLS12 },
		"resumed, no cert":   func(e *Evidence) { e.Upstream.ClientCert = [32]byte{} },
		"the workload's own": func(e *Evidence) { e.Flow.Original = e.Upstream.Remote },
		"certificate alone":  func(e *Evidence) { bare(e); e.Profile.EgressIP, e.Upstream.EgressIP = netip.Addr{}, netip.Addr{} },
		"bare plan, OPTIONS": func(e *Evidence) { bare(e); e.Method = "OPTIONS" },
		"no plan, egress": func(e *Evidence) {
			bare(e)
			e.Plan = nil
			e.Profile.Certificate = nil
			e.Upstream.ClientCert = [32]byte{}
		},
		"private and allowed": func(e *Evidence) {
			e.Profile.AllowPrivate, e.Upstream.Remote = true, netip.MustParseAddrPort("10.1.2.3:443")
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := whole(t)
			edit(e)
			if _, reason := Bind(e); reason != flow.ReasonNone {
				t.Errorf("refused: %v", reason)
			}
		})
	}
}

// bare takes the credentials off the plan.
func bare(e *Evidence) {
	e.Plan = &Plan{}
	e.Key.Credentials, e.Upstream.Key.Credentials = "", ""
}

// TestBindRefuses breaks one fact of whole evidence at a time.
func TestBindRefuses(t *testing.T) {
	remote := func(s string) func(*Evidence) {
		return func(e *Evidence) { e.Upstream.Remote = netip.MustParseAddrPort(s) }
	}
	both := func(f func(*upstream.Key)) func(*Evidence) {
		return func(e *Evidence) { f(&e.Key); f(&e.Upstream.Key) }
	}
	for _, tt := range []struct {
		name   string
		edit   func(*Evidence)
		reason flow.Reason
	}{
		{"nothing to permit", func(e *Evidence) { bare(e); e.Profile = nil }, flow.ReasonCredentialMissing},
		{"no flow", func(e *Evidence) { e.Flow = nil }, flow.ReasonNoRecord},
		{"no cookie", func(e *Evidence) { e.Flow.Cookie = 0 }, flow.ReasonNoRecord},
		{"no pid", func(e *Evidence) { e.Flow.Caller.PID = 0 }, flow.ReasonNoRecord},
		{"no original destination", func(e *Evidence) { e.Flow.Original = netip.AddrPort{} }, flow.ReasonNoRecord},
		{"TRACE", func(e *Evidence) { e.Method = "TRACE" }, flow.ReasonMethodForbids},
		{"OPTIONS", func(e *Evidence) { e.Method = "OPTIONS" }, flow.ReasonMethodForbids},
		{"CONNECT", func(e *Evidence) { e.Method = "CONNECT" }, flow.ReasonMethodForbids},
		{"CONNECT, bare plan", func(e *Evidence) { bare(e); e.Method = "CONNECT" }, flow.ReasonMethodForbids},
		{"trace", func(e *Evidence) { e.Method = "trace" }, flow.ReasonMethodForbids},
		{"no method", func(e *Evidence) { e.Method = "" }, flow.ReasonMethodForbids},
		{"clear text", func(e *Evidence) { e.Terminated, e.ServerName = false, "" }, flow.ReasonCleartext},
		{"no SNI", func(e *Evidence) { e.ServerName = "" }, flow.ReasonNoServerName},
		{"no SNI, clear text allowed", func(e *Evidence) { e.ServerName, e.Cleartext = "", true }, flow.ReasonNoServerName},
		{"Host unlike SNI", func(e *Evidence) { e.Authority = "evil.example" }, flow.ReasonAuthorityMismatch},
		{"SNI unlike Host", func(e *Evidence) { e.ServerName = "evil.example" }, flow.ReasonAuthorityMismatch},
		{"both unlike the route", func(e *Evidence) { e.ServerName, e.Authority = "evil.example", "evil.example" }, flow.ReasonAuthorityMismatch},
		{"clear text, unlike the route", func(e *Evidence) { e.Terminated, e.Cleartext, e.Authority = false, true, "evil.example" }, flow.ReasonAuthorityMismatch},
		{"no Host", func(e *Evidence) { e.Authority = "" }, flow.ReasonAuthorityMismatch},
		{"other port", func(e *Evidence) { e.Authority = "api.partner.example:8443" }, flow.ReasonAuthorityMismatch},
		{"userinfo", func(e *Evidence) { e.Authority = "x@api.partner.example" }, flow.ReasonAuthorityMismatch},
		{"suffix", func(e *Evidence) { e.Authority = "api.partner.example.evil.example" }, flow.ReasonAuthorityMismatch},
		{"two dots", func(e *Evidence) { e.Authority = "api.partner.example.." }, flow.ReasonAuthorityMismatch},
		{"NUL", func(e *Evidence) { e.Authority = "api.partner.example\x00.evil.example" }, flow.ReasonAuthorityMismatch},
		{"no hosts", func(e *Evidence) { e.Hosts = nil }, flow.ReasonAuthorityMismatch},
		{"literal address", func(e *Evidence) {
			e.ServerName, e.Authority, e.Hosts = "203.0.113.10", "203.0.113.10", hosts(t, "203.0.113.10")
		}, flow.ReasonAddressNotResolved},
		{"no connection", func(e *Evidence) { e.Upstream = nil }, flow.ReasonAddressNotResolved},
		{"the workload's address", func(e *Evidence) { e.Upstream.Resolved = false }, flow.ReasonAddressNotResolved},
		{"original destination dialled", both(func(k *upstream.Key) { k.Addr = netip.MustParseAddr("203.0.113.9") }), flow.ReasonAddressNotResolved},
		{"nothing dialled", func(e *Evidence) { e.Upstream.Remote = netip.AddrPort{} }, flow.ReasonAddressNotResolved},
		{"loopback", remote("127.0.0.1:443"), flow.ReasonAddressDenied},
		{"loopback, v6", remote("[::1]:443"), flow.ReasonAddressDenied},
		{"loopback, mapped", remote("[::ffff:127.0.0.1]:443"), flow.ReasonAddressDenied},
		{"private", remote("10.0.0.1:443"), flow.ReasonAddressDenied},
		{"metadata", remote("169.254.169.254:443"), flow.ReasonAddressDenied},
		{"metadata, v6", func(e *Evidence) { e.Profile.AllowPrivate = true; remote("[fd00:ec2::254]:443")(e) }, flow.ReasonAddressDenied},
		{"metadata by NAT64", remote("[64:ff9b::a9fe:a9fe]:443"), flow.ReasonAddressDenied},
		{"upstream in clear text", func(e *Evidence) { e.Upstream.TLS, e.Upstream.ServerName = 0, "" }, flow.ReasonUpstreamUnverified},
		{"tls 1.1", func(e *Evidence) { e.Upstream.TLS = tls.VersionTLS11 }, flow.ReasonUpstreamUnverified},
		{"certificate not verified", func(e *Evidence) { e.Upstream.ServerName = "" }, flow.ReasonUpstreamUnverified},
		{"certificate of another", func(e *Evidence) { e.Upstream.ServerName = "evil.example" }, flow.ReasonUpstreamName},
		{"pool: route", func(e *Evidence) { e.Upstream.Key.Route = "other" }, flow.ReasonPoolMismatch},
		{"pool: host", both(func(k *upstream.Key) { k.Host = "other.partner.example" }), flow.ReasonPoolMismatch},
		{"pool: port", func(e *Evidence) { e.Upstream.Key.Port = 8443 }, flow.ReasonPoolMismatch},
		{"pool: port dialled", remote("203.0.113.10:8443"), flow.ReasonPoolMismatch},
		{"pool: credentials", func(e *Evidence) { e.Upstream.Key.Credentials = "" }, flow.ReasonPoolMismatch},
		{"pool: credentials of an older version", func(e *Evidence) {
			e.Plan = plan(t, Credential{Name: "token", Version: "2", Form: Bearer, Value: value("abc")})
		}, flow.ReasonPoolMismatch},
		{"pool: profile", func(e *Evidence) { e.Upstream.Key.Profile = "partner@v0" }, flow.ReasonPoolMismatch},
		{"pool: key of another profile", both(func(k *upstream.Key) { k.Profile = "partner@v0" }), flow.ReasonPoolMismatch},
		{"pool: egress IP", func(e *Evidence) { e.Upstream.EgressIP = netip.MustParseAddr("198.51.100.21") }, flow.ReasonPoolMismatch},
		{"pool: egress IP not bound", func(e *Evidence) { e.Upstream.EgressIP = netip.Addr{} }, flow.ReasonPoolMismatch},
		{"pool: certificate nobody asked for", func(e *Evidence) { e.Profile.Certificate = nil }, flow.ReasonPoolMismatch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := whole(t)
			tt.edit(e)
			permit, reason := Bind(e)
			if reason != tt.reason || permit != (Permit{}) {
				t.Errorf("%v, %v; want %v", permit, reason, tt.reason)
			}
		})
	}
}

func TestBindOfNothing(t *testing.T) {
	if permit, reason := Bind(&Evidence{}); permit != (Permit{}) || reason == flow.ReasonNone {
		t.Errorf("zero evidence: %v %v", permit, reason)
	}
}

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
		Credentials: plans[c.poolCredential].Key(), Profile: "p@" + c.poolProfile,
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
			permit, reason := Bind(c.evidence(t, plans))
			wrong := oracle(c)
			switch {
			case reason == flow.ReasonNone && len(wrong) > 0:
				rt.Fatalf("permitted, but wrong is %v\n%+v", wrong, *c)
			case reason != flow.ReasonNone && !wrong[reason]:
				rt.Fatalf("refused with %v, but wrong is %v\n%+v", reason, wrong, *c)
			case (reason == flow.ReasonNone) != (permit == Permit{true, plans[2], c.method, c.authority}):
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

func TestBindDoesNotAllocate(t *testing.T) {
	e := whole(t)
	if n := testing.AllocsPerRun(100, func() {
		if _, reason := Bind(e); reason != flow.ReasonNone {
			t.Fatal(reason)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkBind(b *testing.B) {
	e := whole(b)
	for b.Loop() {
		Bind(e)
	}
}
