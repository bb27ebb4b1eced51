package daemon_test

import (
	"strings"
	"testing"
)

// What the kernel tells a captured program about its connection is what it would
// tell it without us.
func TestSystemNamesTellTheTruth(t *testing.T) {
	w := newWorld(t)
	w.serve("ipv6", "--dir", w.path("partner"), "--listen", "[2001:db8:9::80]:443")
	w.daemon()
	for name, argv := range map[string][]string{
		"IPv4":        {"4", partnerAddr},
		"IPv6":        {"6", "[2001:db8:9::80]:443"},
		"IPv4-mapped": {"6", "[::ffff:198.51.100.80]:443"},
	} {
		t.Run(name, func(t *testing.T) {
			argv = append([]string{program("client"), "names"}, argv...)
			free, captured := w.do(w.cgroup, argv...), w.do(w.work, argv...)
			if free.code != 0 || !strings.Contains(free.stdout, "peer "+argv[3]) {
				t.Fatalf("without us: %v", free)
			}
			if captured != free {
				t.Errorf("captured: %vwithout us: %v", captured, free)
			}
		})
	}
	w.await("all three were captured", func() bool { return w.status().Flows.Accepted == 3 })
}
