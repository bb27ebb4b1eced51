package daemon_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/flow"
)

// nftWorld is a world whose daemon is to use the backend nft.
func nftWorld(t *testing.T, fail string) *world {
	t.Helper()
	w := newWorld(t)
	s := w.standard()
	s.fail, s.hooks = fail, ", backend: nft"
	w.configure(s)
	return w
}

// direct is the address of workloads: the daemon has the egress IP, so what
// comes from here to the internet has not come through it.
const direct = "198.51.100.1"

// watchFar counts what comes to the internet from an address or a network.
func (w *world) watchFar(from string) {
	w.t.Helper()
	_, err := w.internet.Output("", "nft", "add table inet far { chain in { type filter hook prerouting priority 0; ip saddr "+from+" tcp dport { 80, 443 } counter; }; }")
	must(w.t, err)
}

// nothingFar fails the test if anything has come.
func (w *world) nothingFar(when string) {
	w.t.Helper()
	out, err := w.internet.Output("", "nft", "list", "table", "inet", "far")
	must(w.t, err)
	if !strings.Contains(out, "counter packets 0 ") {
		w.t.Errorf("%s: packets have come to the internet directly: %s", when, out)
	}
}

func (w *world) nft(args ...string) string {
	w.t.Helper()
	out, err := w.host.Output("", "nft", args...)
	must(w.t, err)
	return out
}

// ask says a URL to a client that takes steps, and gives its answer.
func (w *world) ask(p *process, url string) string {
	w.t.Helper()
	said := len(p.stdout.String())
	p.say(url)
	w.await("an answer", func() bool { return strings.Contains(p.stdout.String()[said:], "done") })
	return p.stdout.String()[said:]
}

// Backend nft carries a credential like any other, and a flush of nftables under
// load is noticed, undone, recorded and counted, and lets nothing pass.
func TestSystemNFT(t *testing.T) {
	w := nftWorld(t, "closed")
	before := w.hostState()
	w.nft("add table inet foreign { chain c { type nat hook output priority -100; }; }")
	w.watchFar(direct)
	d := w.daemon()
	p := w.begin(w.work, "env", w.trusting(), program("client"), "steps")
	accountIn(t, w.ask(p, partnerURL)).verified(t)
	if s := w.status().Capture; s.Backend != "nft" || s.Table == nil || !s.Table.Intact || s.Table.Restored != 0 {
		t.Errorf("status %+v, table %+v", s, s.Table)
	}

	const flushes = 5
	for n := range uint64(flushes) {
		p.say(partnerURL)
		w.nft("flush", "ruleset")
		p.say(partnerURL)
		w.await("the table is back", func() bool { return w.status().Capture.Table.Restored > n })
	}
	w.await("all answers", func() bool { return strings.Count(p.stdout.String(), "done") == 1+2*flushes })
	accountIn(t, w.ask(p, partnerURL)).verified(t)
	w.nothingFar("flushed under load")
	if s := w.status().Capture.Table; !s.Intact || s.Changed == nil || s.Error != "" {
		t.Errorf("table %+v", s)
	}
	w.find("the change", func(r *audit.Record) bool {
		return r.Kind == audit.KindAlert && r.Reason == flow.ReasonTableChanged.String()
	})
	if r := w.outwarden("status"); !strings.Contains(r.stdout, "put back") {
		t.Errorf("status: %v", r)
	}
	d.stop()
	if r := w.outwarden("detach"); r.code != 0 || !strings.Contains(r.stdout, "removed nftables table") {
		t.Errorf("detach: %v", r)
	}
	w.sameHost(before)
}

// A daemon that is killed under fail closed leaves nothing open, with its table
// and without; the next takes over, and detach leaves the tables of others.
func TestSystemNFTKilledDaemon(t *testing.T) {
	w := nftWorld(t, "closed")
	w.nft("add table inet foreign { chain c { type filter hook output priority 0; }; }")
	before := w.hostState()
	w.watchFar(direct)
	connect := func() bool { return w.do(w.work, program("client"), "connect", partnerAddr).code == 0 }
	w.daemon().kill()
	for _, flushed := range []bool{false, true} {
		if flushed {
			w.nft("delete table inet " + strings.TrimPrefix(w.pins, "/sys/fs/bpf/"))
		}
		for range 10 {
			if connect() {
				t.Fatalf("connected with a dead daemon; its table deleted: %v", flushed)
			}
		}
	}
	w.nothingFar("dead daemon")
	d := w.daemon()
	if r := w.do(w.work, "env", w.trusting(), program("client"), "get", partnerURL); r.code != 0 {
		t.Errorf("under the next daemon: %v", r)
	}
	d.kill()
	if r := w.outwarden("detach"); r.code != 0 {
		t.Errorf("detach: %v", r)
	}
	if !connect() {
		t.Error("a detached host does not connect")
	}
	w.sameHost(before)
}

// A daemon with another backend takes over, and leaves nothing of the first.
func TestSystemNFTThenRewrite(t *testing.T) {
	w := nftWorld(t, "closed")
	d := w.daemon()
	if r := w.do(w.work, "env", w.trusting(), program("client"), "get", partnerURL); r.code != 0 {
		t.Fatalf("at home: %v", r)
	}
	d.kill()
	// Another backend afterwards has no use for what the first left.
	w.configure(w.standard())
	d = w.daemon()
	if got := w.nft("list", "ruleset"); got != "" {
		t.Errorf("backend rewrite has kept %s", got)
	}
	if r := w.do(w.work, "env", w.trusting(), program("client"), "get", partnerURL); r.code != 0 {
		t.Errorf("backend rewrite: %v", r)
	}
	d.stop()
}

// Workloads in a network namespace of their own have the table there; detach
// removes it there too, and a flush in there is undone.
func TestSystemNFTElsewhere(t *testing.T) {
	w := nftWorld(t, "closed")
	slipped := w.watch()
	place := w.place()
	w.inhabit(place)
	d := w.daemon()
	w.awaitOthers(1)
	call := func() {
		t.Helper()
		accountIn(t, w.succeed(w.work, within(place, "env", w.trusting(), program("client"), "get", partnerURL)...)).verified(t)
	}
	call()
	w.succeed(w.cgroup, within(place, "nft", "flush", "ruleset")...)
	w.await("the table is back", func() bool { return w.status().Capture.Table.Restored == 1 })
	call()
	if n := slipped(); n != 0 {
		t.Errorf("%d packets came by themselves", n)
	}
	d.kill()
	if r := w.outwarden("detach"); r.code != 0 || strings.Count(r.stdout, "removed nftables table") != 2 {
		t.Errorf("detach: %v", r)
	}
	if left := w.succeed(w.cgroup, within(place, "nft", "list", "ruleset")...); left != "" {
		t.Errorf("left in the namespace: %s", left)
	}
}

// What others call as our pins are called is theirs.
func TestSystemTableOfAnother(t *testing.T) {
	w := newWorld(t)
	name := "filter-" + filepath.Base(w.cgroup)
	w.write("outwarden.yaml", strings.ReplaceAll(w.read("outwarden.yaml"), w.pins, "/sys/fs/bpf/"+name))
	w.nft("add table inet " + name + " { chain in { type filter hook input priority 0; }; }")
	d := w.daemon()
	d.stop()
	if r := w.outwarden("detach"); r.code != 0 || strings.Contains(r.stdout, "table inet "+name) {
		t.Errorf("detach: %v", r)
	}
	if tables := w.nft("list", "tables"); !strings.Contains(tables, name) {
		t.Errorf("the table of another has gone; left: %q", tables)
	}
}
