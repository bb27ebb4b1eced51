package daemon_test

import (
	"testing"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// A workload that rules its own network namespace gets no further than others:
// it flushes all tables and filters there, turns our address into the real one,
// and goes on in namespaces that it makes below. What decides stands at its
// cgroup, which it can't reach; the far side sees not one packet.
func TestSystemAdminOfItsOwnNetwork(t *testing.T) {
	w := newWorld(t)
	slipped := w.watch()
	ns := w.place()
	w.daemon()
	w.inhabit(ns)
	w.awaitOthers(1)
	admin := func(script string) result { return w.do(w.work, within(ns, "sh", "-c", script)...) }
	call := func(in *netnstest.NS) {
		t.Helper()
		accountIn(t, w.succeed(w.work, within(in, "env", w.trusting(), program("client"), "insist", partnerURL)...)).verified(t)
		if n := slipped(); n != 0 {
			t.Errorf("%d packets went past us", n)
		}
	}

	t.Run("flushes", func(t *testing.T) {
		if r := admin(`nft flush ruleset && for l in $(ls /sys/class/net); do
			tc qdisc add dev $l clsact 2>/dev/null; tc filter del dev $l egress 2>/dev/null; tc qdisc del dev $l clsact; done
			ip rule flush; ip rule add from all lookup main; ip rule add from all lookup local pref 0`); r.code != 0 {
			t.Fatal(r)
		}
		call(ns)
	})

	t.Run("translates our address", func(t *testing.T) {
		if r := admin(`set -e; echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; nft add table ip t
			nft 'add chain ip t out { type nat hook output priority -100; }'
			nft 'add chain ip t post { type nat hook postrouting priority 100; }'
			nft add rule ip t out ip daddr 127.0.0.0/8 tcp dport 1024-65535 dnat to ` + partnerAddr + `
			nft add rule ip t post ip saddr 127.0.0.0/8 ip daddr 198.51.100.80 masquerade`); r.code != 0 {
			t.Fatal(r)
		}
		p := w.begin(w.work, within(ns, program("client"), "connect", partnerAddr)...)
		w.await("its packets are dropped", func() bool { return w.status().Kernel["strayed"] > 0 })
		p.kill()
		if n := slipped(); n != 0 {
			t.Errorf("%d packets went past us", n)
		}
		if r := admin("nft flush ruleset"); r.code != 0 {
			t.Fatal(r)
		}
		call(ns)
	})

	t.Run("makes a user namespace", func(t *testing.T) {
		w.succeed(w.work, within(ns, "setpriv", "--reuid=65534", "--clear-groups",
			"unshare", "--user", "--map-root-user", "--net", program("client"), "alone", partnerAddr)...)
		if n := slipped(); n != 0 {
			t.Errorf("%d packets went past us", n)
		}
	})

	t.Run("nests a container", func(t *testing.T) {
		inner := w.nest(ns)
		nested := netnstest.Subgroup(t, w.work, "nested")
		stranger := w.begin(w.cgroup, within(inner, program("client"), "connect", partnerAddr)...)
		w.await("the far side sees who is not in scope", func() bool { return slipped() > 0 })
		stranger.kill()
		before := slipped()
		a := accountIn(t, w.succeed(nested, within(inner, "env", w.trusting(), program("client"), "insist", partnerURL)...))
		a.verified(t)
		if n := slipped() - before; n != 0 {
			t.Errorf("%d packets went past us", n)
		}
	})
}

// nest makes a namespace that reaches the internet through another.
func (w *world) nest(outer *netnstest.NS) *netnstest.NS {
	w.t.Helper()
	inner := netnstest.New(w.t)
	inner.Veth(outer, prefixes("10.78.0.2/24"), prefixes("10.78.0.1/24"))
	inner.Route(prefixes("198.51.100.0/24")[0], prefixes("10.78.0.1/24")[0].Addr())
	w.succeed(w.work, within(outer, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")...)
	return inner
}
