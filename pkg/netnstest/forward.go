package netnstest

import "os"

// Forward makes the namespace a router of both families. Links that are made
// afterwards forward at once: a router asks for neighbours by its link-local
// address, which otherwise waits for duplicate address detection.
func (n *NS) Forward() {
	n.t.Helper()
	const sysctl = "/proc/sys/net/"
	n.Do(func() {
		for file, value := range map[string]string{
			"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1", "ipv6/conf/default/accept_dad": "0",
		} {
			if err := os.WriteFile(sysctl+file, []byte(value), 0o644); err != nil {
				n.t.Fatalf("forward: %v", err)
			}
		}
	})
}
