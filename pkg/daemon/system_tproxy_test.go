package daemon_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/netnstest"
)

const (
	guestAddr  = "10.88.0.2"
	guestAddr6 = "2001:db8:88::2"
	guestNets  = "[10.88.0.0/24, \"2001:db8:88::/64\"]"
)

// guestWorld is a world with a guest whose packets the host routes, as those of
// a virtual machine are: its processes are in no scope, and their connects are
// nobody's business here.
func guestWorld(t *testing.T, fail string) (*world, *netnstest.NS) {
	t.Helper()
	w := newWorld(t)
	guest := netnstest.New(t)
	prefixes := func(list ...string) (out []netip.Prefix) {
		for _, s := range list {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	for _, ns := range []*netnstest.NS{guest, w.host, w.internet} {
		ns.Forward()
	}
	inner, _ := w.host.Veth(guest, prefixes("10.88.0.1/24", "2001:db8:88::1/64"), prefixes(guestAddr+"/24", guestAddr6+"/64"))
	for ns, via := range map[*netnstest.NS][2]string{guest: {"10.88.0.1", "2001:db8:88::1"}, w.internet: {"198.51.100.1", "2001:db8:9::1"}} {
		ns.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr(via[0]))
		ns.Route(netip.MustParsePrefix("::/0"), netip.MustParseAddr(via[1]))
	}
	s := w.standard()
	s.fail, s.hooks = fail, ", backend: tproxy, guests: [{interface: "+inner+"}]"
	s.extra = `- {name: seen, from: {guest: ` + guestNets + `}, to: {host: [seen.example, six.example]}, action: intercept, upstream: {ca: partner/ca.pem}}
- {name: refused, from: {guest: ` + guestAddr + `}, to: {host: refused.example}, action: deny}
`
	w.configure(s)
	return w, guest
}

// A guest that the host routes is intercepted, for both families, and recorded
// by its address alone; policy refuses it, and it gets no credential. The host's
// own workloads are served as ever.
func TestSystemGuest(t *testing.T) {
	w, guest := guestWorld(t, "closed")
	before := w.hostState()
	tomorrow := time.Now().Add(24 * time.Hour)
	seen := w.origin("seen.example", "198.51.100.81", w.certify("seen.example", tomorrow, false))
	six := w.origin("#", "[2001:db8:9::80]", w.certify("six.example", tomorrow, false))
	w.hosts("six.example", "2001:db8:9::80")
	refused := w.origin("refused.example", "198.51.100.82", w.certify("refused.example", tomorrow, false))
	w.watchFar("10.88.0.0/24")
	d := w.daemon()
	ask := func(what ...string) result {
		return w.do(w.cgroup, within(guest, append([]string{"env", w.trusting(), program("client"), "get"}, what...)...)...)
	}

	if r := ask("https://seen.example/v4"); r.code != 0 || !strings.Contains(r.stdout, "recorded") {
		t.Errorf("intercepted: %v", r)
	}
	r := w.find("the guest's request", func(r *audit.Record) bool { return r.Kind == audit.KindRequest && r.Path == "/v4" })
	if r.Guest != guestAddr || r.Process != nil || r.Route != "seen" || r.Original == nil || r.Original.IP != "198.51.100.81" || len(r.Credentials) != 0 {
		t.Errorf("record %+v", r)
	}
	if out := w.outwarden("flows", "--last", "5").stdout; !strings.Contains(out, "guest "+guestAddr) {
		t.Errorf("flows: %s", out)
	}
	if r := ask("https://six.example/v6"); r.code != 0 || !strings.Contains(r.stdout, "recorded") {
		t.Errorf("intercepted: %v", r)
	}
	if r := w.find("the guest's other request", func(r *audit.Record) bool { return r.Kind == audit.KindRequest && r.Path == "/v6" }); r.Guest != guestAddr6 {
		t.Errorf("record %+v", r)
	}
	if r := ask("https://refused.example/"); r.code == 0 {
		t.Errorf("denied by route: %v", r)
	}
	if r := w.find("the refusal", func(r *audit.Record) bool { return r.Route == "refused" }); r.Guest != guestAddr || r.Reason != "route_denies" {
		t.Errorf("record %+v", r)
	}
	if r := ask(partnerURL); !strings.Contains(r.stdout, " 403") || !strings.Contains(r.stdout, "guest") {
		t.Errorf("a route with a credential: %v", r)
	}
	if r := w.find("the credential that was kept back", func(r *audit.Record) bool { return r.Reason == "guest" }); r.Guest != guestAddr || len(r.Credentials) != 0 {
		t.Errorf("record %+v", r)
	}
	if seen.requests(t) != 1 || six.requests(t) != 1 || refused.requests(t) != 0 {
		t.Errorf("origins saw %d, %d and %d requests", seen.requests(t), six.requests(t), refused.requests(t))
	}
	accountIn(t, w.succeed(w.work, "env", w.trusting(), program("client"), "get", partnerURL)).verified(t)
	w.nothingFar("while the daemon lives")
	if s := w.status().Capture; s.Backend != "tproxy" || len(s.Guests) != 1 || s.Table == nil || !s.Table.Intact {
		t.Errorf("status %+v, table %+v", s, s.Table)
	}
	d.stop()
	if r := w.outwarden("detach"); r.code != 0 || strings.Count(r.stdout, "removed ip rule") < 2 || strings.Count(r.stdout, "removed route") != 2 {
		t.Errorf("detach: %v", r)
	}
	w.sameHost(before)
}

// With a dead daemon no guest passes under fail closed, whatever becomes of
// nftables; under fail open every guest does.
func TestSystemGuestKilledDaemon(t *testing.T) {
	requireBinaries(t)
	for _, fail := range []string{"closed", "open"} {
		t.Run(fail, func(t *testing.T) {
			w, guest := guestWorld(t, fail)
			before := w.hostState()
			connects := func(addr string) bool {
				return w.do(w.cgroup, within(guest, program("client"), "connect", addr)...).code == 0
			}
			w.listen(partnerAddr6)
			w.await("the guest's way to the internet", func() bool { return connects(partnerAddr) })
			w.watchFar("10.88.0.0/24 tcp flags & (syn | ack) == syn") // those before may still say goodbye
			d := w.daemon()
			if !connects(partnerAddr) || !connects(partnerAddr6) {
				t.Error("the guest is not served")
			}
			w.nothingFar("alive")
			d.kill()
			for range 5 {
				if got := connects(partnerAddr) || connects(partnerAddr6); got != (fail == "open") {
					t.Fatalf("fail %s: connects with a dead daemon: %v", fail, got)
				}
			}
			if fail == "closed" {
				w.nft("flush", "ruleset")
				if connects(partnerAddr) || connects(partnerAddr6) {
					t.Error("a flush has let the guest out")
				}
				w.nothingFar("dead")
			}
			if r := w.outwarden("detach"); r.code != 0 {
				t.Errorf("detach: %v", r)
			}
			if !connects(partnerAddr) {
				t.Error("the guest does not connect after detach")
			}
			w.sameHost(before)
		})
	}
}
