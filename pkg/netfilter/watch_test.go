package netfilter

import (
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRestored: however the table is taken away or changed, it is put back, and
// what others have stays as they have it.
func TestRestored(t *testing.T) {
	w := newWorld(t)
	tbl, _ := w.redirected()
	restored := w.watch(tbl)
	intact := w.nft("list", "table", "inet", table)
	for i, foreign := range []string{
		"flush ruleset",
		"delete table inet " + table,
		"flush chain inet " + table + " output",
		"add rule inet " + table + " output accept",
		"add chain inet " + table + " more",
		"add table inet " + table + " { flags dormant; }",
	} {
		w.nft(foreign)
		if r := next(t, restored); r.Err != nil || r.What == "" {
			t.Errorf("%s: %+v", foreign, r)
		}
		if got := w.nft("list", "table", "inet", table); got != intact {
			t.Errorf("after %s:\n%s\nwant:\n%s", foreign, got, intact)
		}
		if h := tbl.Health(); !h.Intact || h.Restored != uint64(i+1) || h.Changed.IsZero() || h.Failed != nil {
			t.Errorf("after %s: %+v", foreign, h)
		}
	}
	w.nft("add table inet foreign { chain c { type filter hook output priority 0; }; }")
	w.nft("flush chain inet foreign c")
	w.nft("delete table inet " + table)
	next(t, restored)
	if h := tbl.Health(); h.Restored != 7 {
		t.Errorf("changes of another table count: %+v", h)
	}
	w.nft("list", "table", "inet", "foreign")
}

// TestRulesRestored: policy rules and the route are put back too.
func TestRulesRestored(t *testing.T) {
	w := newWorld(t)
	tbl, _ := w.intercepted(func(*Guests) {})
	restored := w.watch(tbl)
	for _, foreign := range [][]string{
		{"rule", "del", "priority", "28416"},
		{"-6", "rule", "del", "priority", "28417"},
		{"route", "flush", "table", ""},
	} {
		if foreign[0] == "route" {
			foreign[3] = strconv.Itoa(routingTable(table))
		}
		w.ip(foreign...)
		if r := next(t, restored); r.Err != nil {
			t.Errorf("%v: %+v", foreign, r)
		}
	}
	for server, guest := range servers {
		if got := w.ask(w.guest, server, 0); got != guest+" to "+server {
			t.Errorf("%s: %q", server, got)
		}
	}
}

// TestFlushLetsNoGuestPass: a flush of nftables takes the table of nobody who
// watches; the guest is refused all the same.
func TestFlushLetsNoGuestPass(t *testing.T) {
	w := newWorld(t)
	w.intercepted(func(*Guests) {})
	w.nft("flush ruleset")
	for server := range servers {
		if got := w.ask(w.guest, server, 0); got != unix.EACCES.Error() && got != unix.EHOSTUNREACH.Error() {
			t.Errorf("%s: %q", server, got)
		}
	}
}

// TestExamine: what a doctor sees.
func TestExamine(t *testing.T) {
	w := newWorld(t)
	see := func() Found {
		t.Helper()
		f, err := Examine(w.netns, table)
		must(t, err)
		return f
	}
	if got := see(); got != (Found{}) {
		t.Errorf("nothing there: %+v", got)
	}
	w.intercepted(func(*Guests) {})
	if got, want := see(), (Found{Table: true, Rules: 6, Routes: 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	w.nft("add table inet " + table + " { flags dormant; }")
	if got := see(); !got.Dormant {
		t.Errorf("dormant: %+v", got)
	}
}

// TestProbe: a kernel on which this suite runs has all.
func TestProbe(t *testing.T) {
	newWorld(t)
	c := Config{Name: table, Local: Local{IPv4: []uint16{1, 2}}, Guests: Guests{From: []Guest{{Interface: "x"}}, Ports: []uint16{443}, IPv4: 1, IPv6: 1}}
	if err := Probe(c); err != nil {
		t.Error(err)
	}
}
