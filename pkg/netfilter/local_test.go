package netfilter

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// redirected puts a redirect to two listeners of each family in place; each
// says its port.
func (w *world) redirected() (*Table, Local) {
	w.t.Helper()
	var to Local
	port := func(c net.Conn) string { return c.LocalAddr().String() }
	for range 2 {
		p4, _ := w.serve(w.host, "127.0.0.1:0", false, port)
		p6, _ := w.serve(w.host, "[::1]:0", false, port)
		to.IPv4, to.IPv6 = append(to.IPv4, p4), append(to.IPv6, p6)
	}
	return w.open(Config{Local: to}), to
}

// TestRedirect: marked connections come to a listener, whatever other bits they
// carry, and to each of the listeners; others go where they meant to.
func TestRedirect(t *testing.T) {
	w := newWorld(t)
	w.redirected()
	for addr, prefix := range map[string]string{server4: "127.0.0.1:", server6: "[::1]:"} {
		seen := map[string]bool{}
		for range 40 { // a port is missed by chance once in 2^39
			got := w.ask(w.host, addr, DefaultMark|0x1234_0000)
			if !strings.HasPrefix(got, prefix) {
				t.Fatalf("%s: %q", addr, got)
			}
			seen[got] = true
		}
		if len(seen) != 2 {
			t.Errorf("%s: came to %v, want both listeners", addr, seen)
		}
		if got := w.ask(w.host, addr, 0x1234_0000); got != "direct" {
			t.Errorf("%s without our bit: %q", addr, got)
		}
	}
}

// TestSpelledOnce: to open again, with the same or with less, leaves one table
// that does just what was asked for last.
func TestSpelledOnce(t *testing.T) {
	w := newWorld(t)
	_, to := w.redirected()
	before := w.ruleset()
	again := w.open(Config{Local: to})
	if after := w.ruleset(); after != before {
		t.Errorf("opened twice:\n%s\nonce:\n%s", after, before)
	}
	must(t, again.Set(Config{Name: table, Local: Local{IPv4: to.IPv4[:1]}}))
	if after := w.ruleset(); strings.Count(after, "RegisterProtoMin") != 1 {
		t.Errorf("one listener left: %s", after)
	}
}

// TestOthersStay: a table, a rule and a route of somebody else are untouched by
// all that we do, and nothing of ours is left by Remove.
func TestOthersStay(t *testing.T) {
	w := newWorld(t)
	w.foreign(addForeign)
	w.addForeignRouting()
	state := func() string { return w.ruleset() + w.routing() }
	before := state()
	tbl := w.open(Config{
		Local:  Local{IPv4: []uint16{1}, IPv6: []uint16{1}},
		Guests: Guests{From: []Guest{{Interface: w.inner}}, Ports: []uint16{80, 443}, IPv4: 1, IPv6: 1},
	})
	if during := state(); during == before {
		t.Fatal("nothing was put in place")
	}
	must(t, tbl.Set(Config{Name: table, Guests: Guests{From: []Guest{{Source: prefixes("10.8.0.0/24")[0]}}, Ports: []uint16{80}, IPv4: 1}}))
	removed, err := Remove(w.netns, table)
	must(t, err)
	if len(removed) != 4 { // the table, two rules and a route of IPv4
		t.Errorf("removed %q", removed)
	}
	if after := state(); after != before {
		t.Errorf("after:\n%s\nbefore:\n%s", after, before)
	}
	if removed, err := Remove(w.netns, table); err != nil || len(removed) != 0 {
		t.Errorf("removed again: %q, %v", removed, err)
	}
}

// addForeign makes a table of somebody else.
func addForeign(c *nftables.Conn) {
	table := c.AddTable(&nftables.Table{Name: "foreign", Family: nftables.TableFamilyINet})
	chain := c.AddChain(&nftables.Chain{
		Name: "c", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: join(protocol(unix.IPPROTO_TCP), verdict(expr.VerdictAccept, ""))})
}

// addForeignRouting makes a rule and a route of somebody else, by the same mark.
func (w *world) addForeignRouting() {
	w.t.Helper()
	h := w.handle()
	defer h.Close()
	lo, err := h.LinkByName("lo")
	must(w.t, err)
	mark := uint32(DefaultMark)
	rule := netlink.NewRule()
	rule.Priority, rule.Mark, rule.Mask, rule.Table = 77, mark, &mark, 99
	must(w.t, h.RuleAdd(rule))
	must(w.t, h.RouteAdd(&netlink.Route{
		LinkIndex: lo.Attrs().Index, Dst: ipNet(netip.MustParsePrefix("192.0.2.0/24")), Table: 99, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST,
	}))
}

// TestOpenRefuses: what cannot be right.
func TestOpenRefuses(t *testing.T) {
	for what, c := range map[string]Config{
		"no name":        {Mark: 1},
		"two bits":       {Name: "x", Mark: 3},
		"everybody":      {Name: "x", Guests: Guests{From: []Guest{{}}}},
		"long interface": {Name: "x", Guests: Guests{From: []Guest{{Interface: "sixteen-letters-"}}}},
	} {
		if _, err := Open(c); err == nil {
			t.Errorf("%s: opened", what)
		}
	}
}
