package daemon_test

import (
	"regexp"
	"strconv"
)

// countDirect has the far side count every attempt to connect to it that does not
// come from the egress IP: what went past the daemon. The counter is the kernel's,
// so that nothing is missed under load.
func (w *world) countDirect() {
	w.t.Helper()
	for _, line := range [][]string{
		{"add", "table", "inet", "seen"},
		{"add", "chain", "inet", "seen", "in", "{ type filter hook input priority 0; }"},
		{"add", "rule", "inet", "seen", "in", "ip saddr != " + egressIP + " tcp dport 443 tcp flags & (syn | ack) == syn counter"},
		{"add", "rule", "inet", "seen", "in", "meta nfproto ipv6 tcp dport 443 tcp flags & (syn | ack) == syn counter"},
	} {
		if _, err := w.internet.Output("", "nft", line...); err != nil {
			w.t.Fatal(err)
		}
	}
}

var packets = regexp.MustCompile(`packets (\d+)`)

// direct is what was counted so far.
func (w *world) direct() (n int) {
	w.t.Helper()
	out, err := w.internet.Output("", "nft", "list", "chain", "inet", "seen", "in")
	must(w.t, err)
	found := packets.FindAllStringSubmatch(out, -1)
	if len(found) != 2 {
		w.t.Fatalf("counters: %s", out)
	}
	for _, m := range found {
		count, err := strconv.Atoi(m[1])
		must(w.t, err)
		n += count
	}
	return n
}

// noneDirect fails the test if anything went past the daemon, or if the counter
// would not have seen it.
func (w *world) noneDirect() {
	w.t.Helper()
	if n := w.direct(); n != 0 {
		w.t.Errorf("%d connects went past the daemon", n)
	}
	before := w.direct()
	if r := w.do(w.cgroup, program("client"), "connect", partnerAddr); r.code != 0 {
		w.t.Fatalf("connect out of scope: %v", r)
	}
	if got := w.direct() - before; got != 1 {
		w.t.Errorf("a direct connect was counted %d times", got)
	}
}
