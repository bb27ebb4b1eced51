package proxy_test

import (
	"bufio"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/policy"
)

// TestTrickledHead: a head that comes byte by byte, each in a record of TLS, is not read
// anew for every one of them. It takes the workload a moment to send, and took us a
// quarter of a minute of a processor.
func TestTrickledHead(t *testing.T) {
	w := newWorld(t, func(o *options) { o.Timeouts.Head = time.Minute })
	o := w.originFor(nil, host)
	w.use(policy.Intercept, w.openRoute())
	c := w.tls(as{original: o.addr}, host)
	defer c.Close()
	head := "GET /v1/x HTTP/1.1\r\nHost: " + host + "\r\nX-A: a" + strings.Repeat("\t", 60<<10) + "a\r\n\r\n"
	before := processorTime(t)
	for i := range len(head) {
		if _, err := c.Write([]byte{head[i]}); err != nil {
			t.Fatal(err)
		}
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(t, err)
	defer res.Body.Close()
	used := processorTime(t) - before
	t.Logf("status %d, %v of a processor", res.StatusCode, used)
	if res.StatusCode != 200 || used > 3*time.Second {
		t.Errorf("status %d, %v of a processor", res.StatusCode, used)
	}
}

// processorTime is what this process has used, the workload's part included.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
