package daemon_test

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/netnstest"
)

const partnerAddr6 = "[2001:db8:9::80]:443"

// place makes a network namespace of workloads with a wire of its own to the
// internet, past the host. All of them have the same addresses.
func (w *world) place() *netnstest.NS {
	w.t.Helper()
	ns := netnstest.New(w.t)
	w.join(ns, w.internet)
	return ns
}

func (w *world) join(ns, to *netnstest.NS) (near, far string) {
	w.t.Helper()
	near, far = ns.Veth(to, prefixes("10.77.0.2/24", "2001:db8:77::2/64"), prefixes("10.77.0.1/24", "2001:db8:77::1/64"))
	ns.Route(netip.MustParsePrefix("198.51.100.0/24"), netip.MustParseAddr("10.77.0.1"))
	ns.Route(netip.MustParsePrefix("2001:db8:9::/64"), netip.MustParseAddr("2001:db8:77::1"))
	return near, far
}

// within is a command in a network namespace.
func within(ns *netnstest.NS, argv ...string) []string {
	return append([]string{"nsenter", "--net=" + ns.Path(), "--"}, argv...)
}

// watch counts in the internet what does not come from the host.
func (w *world) watch() (slipped func() int) {
	w.t.Helper()
	w.write("far.nft", `table inet far {
	counter slipped {}
	chain arriving {
		type filter hook prerouting priority -300;
		ip saddr != 198.51.100.0/24 ip daddr 198.51.100.0/24 counter name slipped
		ip6 saddr != 2001:db8:9::/64 ip6 daddr 2001:db8:9::/64 meta l4proto tcp counter name slipped
	}
}`)
	w.succeed(w.cgroup, within(w.internet, "nft", "-f", w.path("far.nft"))...)
	return func() int {
		out := w.succeed(w.cgroup, within(w.internet, "nft", "list", "counter", "inet", "far", "slipped")...)
		_, rest, _ := strings.Cut(out, "packets ")
		n, err := strconv.Atoi(strings.Fields(rest)[0])
		must(w.t, err)
		return n
	}
}

// succeed runs a command that must.
func (w *world) succeed(cgroup string, argv ...string) string {
	w.t.Helper()
	r := w.do(cgroup, argv...)
	if r.code != 0 {
		w.t.Fatalf("%q: %v", argv, r)
	}
	return r.stdout
}

// inhabit has a workload stay in a place.
func (w *world) inhabit(ns *netnstest.NS) *process {
	w.t.Helper()
	return w.begin(w.work, within(ns, "sleep", "1000")...)
}

// awaitOthers waits until that many namespaces beside the host's are served.
func (w *world) awaitOthers(n int) {
	w.t.Helper()
	w.await(fmt.Sprintf("listeners stand in %d other namespaces", n), func() bool { return w.status().Capture.Others == n })
}

// Workloads in network namespaces of their own are captured there: those that
// were there before the daemon and those that come later. Two that have the same
// addresses are told apart, and each is told the addresses that it would have
// had. Who is not in scope goes on by himself, in the same namespace.
func TestSystemNamespaces(t *testing.T) {
	w := newWorld(t)
	s := w.standard()
	s.from = "{exe: " + w.path("alpha") + "}"
	w.configure(s)
	w.succeed(w.cgroup, "cp", program("client"), w.path("alpha"))
	slipped := w.watch()
	early, late := w.place(), w.place()

	w.inhabit(early)
	w.daemon()
	w.awaitOthers(1)
	w.inhabit(late)
	w.awaitOthers(2)
	for _, ns := range []*netnstest.NS{early, late} {
		a := accountIn(t, w.succeed(w.work, within(ns, "env", w.trusting(), w.path("alpha"), "get", partnerURL)...))
		a.verified(t)
		if r := w.do(w.work, within(ns, "env", w.trusting(), program("client"), "get", partnerURL)...); r.code == 0 && accountIn(t, r.stdout).OK {
			t.Errorf("another executable has the credential: %v", r)
		}
		for family, want := range map[string]string{
			"4": "family 2 peer " + partnerAddr + " own 10.77.0.2 port known true\n",
			"6": "family 10 peer " + partnerAddr6 + " own 2001:db8:77::2 port known true\n",
		} {
			addr := map[string]string{"4": partnerAddr, "6": partnerAddr6}[family]
			if got := w.succeed(w.work, within(ns, program("client"), "names", family, addr)...); got != want {
				t.Errorf("names: %q, want %q", got, want)
			}
		}
	}
	if n := slipped(); n != 0 {
		t.Errorf("%d packets went past us", n)
	}
	w.succeed(w.cgroup, within(early, program("client"), "connect", partnerAddr)...)
	if slipped() == 0 {
		t.Error("the far side has not seen who is not in scope: it would see nobody")
	}
	intents := w.records(audit.KindCredential)
	if len(intents) != 2 {
		t.Fatalf("%d intents, want one from each namespace", len(intents))
	}
	for _, r := range intents {
		if r.Process == nil || r.Process.Exe != w.path("alpha") || r.Process.Cgroup != w.cgroupPath(w.work) {
			t.Errorf("intent of %+v", r.Process)
		}
	}
}

// A namespace that nobody has announced is heard of by its first connect: the
// fail policy answers that, with a record, and the next one is captured.
func TestSystemFirstConnect(t *testing.T) {
	requireBinaries(t)
	for fail, want := range map[string]string{"closed": "operation not permitted", "open": "network is unreachable"} {
		t.Run(fail, func(t *testing.T) {
			w := newWorld(t)
			s := w.standard()
			s.fail = fail
			w.configure(s)
			w.daemon()
			if out := w.succeed(w.work, program("client"), "alone", partnerAddr); !strings.Contains(out, want) {
				t.Errorf("the first connect: %q, want %q", out, want)
			}
			decision := map[string]string{"closed": "deny", "open": "passthrough"}[fail]
			w.find("the first connect", func(r *audit.Record) bool {
				return r.Reason == "listener_gone" && r.Decision == decision && r.Original != nil && r.Original.IP == "198.51.100.80"
			})
			w.awaitOthers(0)
		})
	}
}

// Listeners keep no namespace alive: it dies with its last process, also while
// others live and come.
func TestSystemNamespaceDies(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	stays := w.place()
	w.inhabit(stays)
	for range 3 {
		ns := netnstest.New(t)
		_, far := w.join(ns, w.internet)
		p := w.inhabit(ns)
		w.awaitOthers(2)
		w.succeed(w.work, within(ns, program("client"), "connect", partnerAddr)...)
		ns.Release()
		p.kill()
		w.awaitOthers(1)
		w.await("the namespace is gone, and its wire with it", func() bool {
			return w.do(w.cgroup, within(w.internet, "ip", "link", "show", far)...).code != 0
		})
		w.succeed(w.work, within(stays, program("client"), "connect", partnerAddr)...)
	}
}

// A port that somebody in a namespace has already is left to him, and another
// is taken. Where he has all of them, connects are refused, with a record.
func TestSystemPortTaken(t *testing.T) {
	w := newWorld(t)
	d := w.daemon()
	ours := w.status().Capture.Listeners
	for taken, addrs := range map[string][]string{"one": ours[:1], "all": ours} {
		t.Run(taken, func(t *testing.T) {
			ns := w.place()
			squatter := w.begin(w.cgroup, within(ns, append([]string{program("client"), "squat"}, addrs...)...)...)
			w.await("the ports are taken", func() bool { return strings.Contains(squatter.stdout.String(), "ready") })
			w.inhabit(ns)
			if taken == "all" {
				w.await("an attempt is logged", func() bool { return strings.Contains(d.stderr.String(), "address already in use") })
				w.refused(ns)
				return
			}
			w.awaitOthers(1)
			for range 20 {
				w.succeed(w.work, within(ns, program("client"), "connect", partnerAddr)...)
			}
		})
	}
}

// refused checks that a workload may not connect, because others stand on our ports.
func (w *world) refused(ns *netnstest.NS) {
	w.t.Helper()
	r := w.do(w.work, within(ns, program("client"), "connect", partnerAddr)...)
	if r.code == 0 || !strings.Contains(r.stderr, "operation not permitted") {
		w.t.Errorf("connect: %v, want it refused", r)
	}
	w.find("the refusal", func(r *audit.Record) bool { return r.Reason == "listener_foreign" })
}

// What is made for a namespace goes with it: after many of them the daemon holds
// what it held, and the host is as it was. OUTWARDEN_NAMESPACES says how many.
func TestSystemNamespacesComeAndGo(t *testing.T) {
	w := newWorld(t)
	cycles := 25
	if testing.Short() {
		cycles = 5
	}
	if n, err := strconv.Atoi(os.Getenv("OUTWARDEN_NAMESPACES")); err == nil {
		cycles = n
	}
	d := w.daemon()
	w.succeed(w.work, program("client"), "alone", partnerAddr) // what is made once, is made
	w.awaitOthers(0)
	before, host, held := w.descriptors(d), w.hostState(), w.pinned()
	for range cycles {
		w.succeed(w.work, program("client"), "alone", partnerAddr)
	}
	w.awaitOthers(0)
	w.await("the daemon has let go of all", func() bool { return w.descriptors(d) <= before })
	if now := w.pinned(); !slices.Equal(now, held) {
		t.Errorf("pinned: %v, before %v", now, held)
	}
	namespaces := map[string]bool{}
	for _, key := range w.keys("routes", 28) {
		namespaces[string(key[4:12])] = true // of struct route
	}
	if len(namespaces) != 1 {
		t.Errorf("routes of %d namespaces, want those of the host alone", len(namespaces))
	}
	if n := len(w.keys("flows", 48)); n != 0 {
		t.Errorf("%d records of flows are left", n)
	}
	w.sameHost(host)
}

// A workload that makes more namespaces than it is due has no listeners in the
// rest of them, and nobody else lacks any for it.
func TestSystemCrowdOfNamespaces(t *testing.T) {
	const due = 64
	w := newWorld(t)
	w.daemon()
	crowd := w.begin(w.work, program("client"), "crowd", strconv.Itoa(due+6), partnerAddr)
	w.awaitOthers(due)
	w.await("the rest is refused", func() bool {
		return w.status().Kernel["listener_gone"] > due
	})
	w.succeed(netnstest.Subgroup(t, w.work, "another"), program("client"), "alone", partnerAddr)
	w.awaitOthers(due)
	crowd.end()
	w.awaitOthers(0)
}

// descriptors counts what a process holds open.
func (w *world) descriptors(p *process) int {
	w.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Process.Pid))
	must(w.t, err)
	return len(entries)
}

// A namespace that has no way out has none by us either: whoever was shut in stays so.
func TestSystemShutIn(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	ns := netnstest.New(t)
	w.inhabit(ns)
	w.awaitOthers(1)
	if r := w.do(w.work, within(ns, "env", w.trusting(), program("client"), "get", partnerURL)...); r.code == 0 {
		t.Errorf("a workload without a network has an answer: %v", r)
	}
	w.find("the refusal", func(r *audit.Record) bool { return r.Reason == "network_unreachable" && r.Decision == "deny" })
	w.join(ns, w.internet)
	a := accountIn(t, w.succeed(w.work, within(ns, "env", w.trusting(), program("client"), "get", partnerURL)...))
	a.verified(t)
}
