package netnstest

import "os"

// Forward makes the namespace a router of both families.
func (n *NS) Forward() {
	n.t.Helper()
	n.Do(func() {
		for _, file := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
			if err := os.WriteFile(file, []byte("1\n"), 0o644); err != nil {
				n.t.Fatalf("forward: %v", err)
			}
		}
	})
}
