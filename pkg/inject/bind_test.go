package inject

import (
	"crypto/tls"
	"net/netip"
	"testing"

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
		{"pool: profile", func(e *Evidence) { e.Upstream.Key.Profile = upstream.ProfileID{Name: "partner", Version: "v0"} }, flow.ReasonPoolMismatch},
		{"pool: key of another profile", both(func(k *upstream.Key) { k.Profile = upstream.ProfileID{Name: "partner", Version: "v0"} }), flow.ReasonPoolMismatch},
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
