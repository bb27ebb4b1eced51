package netfilter

import (
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	wire "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestRestored: however the table is taken away or changed, it is put back, and
// what others have stays as they have it.
func TestRestored(t *testing.T) {
	w := newWorld(t)
	tbl, _ := w.redirected()
	restored := w.watch(tbl)
	intact := w.ruleset()
	ours := &nftables.Table{Name: table, Family: nftables.TableFamilyINet}
	output := &nftables.Chain{Name: "output", Table: ours}
	changes := map[string]func(*nftables.Conn){
		"flush ruleset": func(c *nftables.Conn) { c.FlushRuleset() },
		"delete table":  func(c *nftables.Conn) { c.DelTable(ours) },
		"flush chain":   func(c *nftables.Conn) { c.FlushChain(output) },
		"another rule": func(c *nftables.Conn) {
			c.AddRule(&nftables.Rule{Table: ours, Chain: output, Exprs: verdict(expr.VerdictAccept, "")})
		},
		"a first rule": func(c *nftables.Conn) {
			c.InsertRule(&nftables.Rule{Table: ours, Chain: output, Exprs: verdict(expr.VerdictAccept, "")})
		},
		"another chain": func(c *nftables.Conn) { c.AddChain(&nftables.Chain{Name: "more", Table: ours}) },
		"a drop by rule": func(c *nftables.Conn) {
			drop := nftables.ChainPolicyDrop
			c.AddChain(&nftables.Chain{Name: "output", Table: ours, Policy: &drop})
		},
	}
	n := uint64(0)
	for what, change := range changes {
		w.foreign(change)
		n++
		if r := next(t, restored); r.Err != nil || r.What == "" {
			t.Errorf("%s: %+v", what, r)
		}
		if got := w.ruleset(); got != intact {
			t.Errorf("after %s:\n%s\nwant:\n%s", what, got, intact)
		}
		if h := tbl.Health(); !h.Intact || h.Restored != n || h.Changed.IsZero() || h.Failed != nil {
			t.Errorf("after %s: %+v", what, h)
		}
	}
	w.foreign(addForeign)
	w.foreign(func(c *nftables.Conn) { c.DelTable(ours) })
	next(t, restored)
	if h := tbl.Health(); h.Restored != n+1 {
		t.Errorf("a change of another table counts: %+v", h)
	}
	if !strings.Contains(w.ruleset(), "chain c of foreign") {
		t.Error("the table of somebody else is gone")
	}
}

// TestHeld: what changes while the table is held is let be, and is in place again
// once Hold(false) returns. Nobody is told: no stranger did it.
func TestHeld(t *testing.T) {
	w := newWorld(t)
	tbl, _ := w.redirected()
	intact := w.ruleset()
	must(t, tbl.Hold(true))
	w.foreign(func(c *nftables.Conn) { c.DelTable(&nftables.Table{Name: table, Family: nftables.TableFamilyINet}) })
	gone := w.ruleset()
	if r, found := tbl.restore(); found || w.ruleset() != gone {
		t.Errorf("restored while held: %+v", r)
	}
	must(t, tbl.Hold(false))
	if got := w.ruleset(); got != intact {
		t.Errorf("after Hold(false):\n%s\nwant:\n%s", got, intact)
	}
	if h := tbl.Health(); !h.Intact || h.Restored != 0 || h.Failed != nil {
		t.Errorf("%+v", h)
	}
	if r, found := tbl.restore(); found {
		t.Errorf("reported: %+v", r)
	}
}

// TestDormantRestored: a table that is switched off is there and does nothing.
func TestDormantRestored(t *testing.T) {
	w := newWorld(t)
	tbl, _ := w.redirected()
	restored := w.watch(tbl)
	w.sleep()
	next(t, restored)
	if got := w.ask(w.host, server4, DefaultMark); !strings.HasPrefix(got, "127.0.0.1:") {
		t.Errorf("%q", got)
	}
}

// sleep switches our table off; the library has no words for it.
func (w *world) sleep() {
	w.t.Helper()
	const newTable = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWTABLE
	c, err := wire.Dial(unix.NETLINK_NETFILTER, &wire.Config{NetNS: w.host.Fd()})
	must(w.t, err)
	defer c.Close()
	attributes, err := wire.MarshalAttributes([]wire.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: []byte(table + "\x00")},
		{Type: unix.NFTA_TABLE_FLAGS, Data: []byte{0, 0, 0, 1}},
	})
	must(w.t, err)
	batch := func(kind wire.HeaderType, family byte, resource byte, data []byte) wire.Message {
		flags := wire.Request
		if data != nil {
			flags |= wire.Acknowledge
		}
		return wire.Message{Header: wire.Header{Type: kind, Flags: flags}, Data: append([]byte{family, 0, 0, resource}, data...)}
	}
	_, err = c.SendMessages([]wire.Message{
		batch(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.NFNL_SUBSYS_NFTABLES, nil),
		batch(newTable, unix.NFPROTO_INET, 0, attributes),
		batch(unix.NFNL_MSG_BATCH_END, 0, unix.NFNL_SUBSYS_NFTABLES, nil),
	})
	must(w.t, err)
	_, err = c.Receive()
	must(w.t, err)
}

// TestRulesRestored: policy rules and the route are put back too.
func TestRulesRestored(t *testing.T) {
	w := newWorld(t)
	tbl, _ := w.intercepted(func(*Guests) {})
	restored := w.watch(tbl)
	h := w.handle()
	defer h.Close()
	rules, err := tbl.rules(netlink.FAMILY_V6, routingTable(table))
	must(t, err)
	routes, err := tbl.routesIn(netlink.FAMILY_V4, routingTable(table))
	must(t, err)
	for _, r := range rules {
		must(t, h.RuleDel(&r))
		next(t, restored)
	}
	must(t, h.RouteDel(&routes[0]))
	next(t, restored)
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
	w.foreign(func(c *nftables.Conn) { c.FlushRuleset() })
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
	w.sleep()
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

// TestChangedByNobody: who has no descriptor left to look by sees nothing, and nobody
// has done that.
func TestChangedByNobody(t *testing.T) {
	w := newWorld(t)
	table, _ := w.redirected()
	before := w.ruleset()
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	few := limit
	few.Cur = 0 // beside those that are open
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &few))
	r, found := table.restore()
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	if found {
		t.Errorf("restored %+v", r)
	}
	if r, found := table.restore(); found || w.ruleset() != before {
		t.Errorf("afterwards restored %+v", r)
	}
}
