package netfilter

import (
	"net"
	"strings"
	"testing"
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
	before := w.nft("list", "ruleset")
	again := w.open(Config{Local: to})
	if after := w.nft("list", "ruleset"); after != before {
		t.Errorf("opened twice:\n%s\nonce:\n%s", after, before)
	}
	must(t, again.Set(Config{Name: table, Local: Local{IPv4: to.IPv4[:1]}}))
	if after := w.nft("list", "ruleset"); strings.Count(after, "redirect to") != 1 {
		t.Errorf("one listener left: %s", after)
	}
}

// TestOthersStay: a table, a rule and a route of somebody else are untouched by
// all that we do, and nothing of ours is left by Remove.
func TestOthersStay(t *testing.T) {
	w := newWorld(t)
	w.nft("add table inet foreign { chain c { type nat hook output priority -100; tcp dport 9 accept; }; }")
	w.ip("rule", "add", "fwmark", "0x80/0x80", "priority", "77", "lookup", "99")
	w.ip("route", "add", "local", "192.0.2.0/24", "dev", "lo", "table", "99")
	state := func() string {
		return w.nft("list", "ruleset") + w.ip("rule") + w.ip("-6", "rule") + w.ip("route", "show", "table", "all") + w.ip("-6", "route", "show", "table", "all")
	}
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
