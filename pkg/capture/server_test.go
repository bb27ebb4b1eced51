package capture

import (
	"net"
	"testing"
	"time"
)

// TestServerInScope: the answers of a server in scope leave, to whichever port: only
// who connects is led elsewhere.
func TestServerInScope(t *testing.T) { eachBackend(t, testServerInScope) }

func testServerInScope(t *testing.T, b backend) {
	w := newWorld(t, b)
	for _, addr := range []string{"10.9.0.1:8443", "[2001:db8:9::1]:8443"} {
		from := &net.TCPAddr{Port: 80} // a port that is captured
		dialer := net.Dialer{LocalAddr: from, Timeout: 10 * time.Second}
		var failed error
		got := w.runAround(func() {
			w.internet.Do(func() {
				c, err := dialer.Dial("tcp", addr)
				if failed = err; err == nil {
					failed = c.Close()
				}
			})
		}, []step{socketFor(addr), {Do: "bind", Addr: addr}, {Do: "listen"}}, nil)
		if got[1].Err != "" || got[2].Err != "" {
			t.Fatalf("listen: %+v", got)
		}
		if failed != nil {
			t.Errorf("%s: %v", addr, failed)
		}
	}
}
