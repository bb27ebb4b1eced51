package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/proxy"
)

// impatient are timeouts that the slow run into while a test waits.
var impatient = proxy.Timeouts{
	Silence: 500 * time.Millisecond, Hello: 3 * time.Second, Head: time.Second, Idle: time.Second, Response: 5 * time.Second,
	BodyStall: time.Second, Drain: 300 * time.Millisecond,
}

// slowKinds are the ways to hold a connection for as long as it is let: what is
// said at once, and then again and again.
var slowKinds = map[string]struct{ first, drip string }{
	"head":         {"GET /v1/x HTTP/1.1\r\nHost: " + host + "\r\n", "X-a: b\r\n"},
	"body":         {"POST /v1/x HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 4096\r\n\r\n", "x"},
	"ranges":       {"GET /v1/x HTTP/1.1\r\nHost: " + host + "\r\nRange: bytes=0-" + strings.Repeat(",5-0", 4000) + "\r\n\r\n", ""},
	"reading":      {"GET /large HTTP/1.1\r\nHost: " + host + "\r\n\r\n", ""},
	"hello":        {halfHello, "\x00"},
	"handshake":    {"", ""}, // a whole hello, and nothing after it
	"between":      {plainGet, ""},
	"empty lines":  {"\r\n", "\r\n"},
	"first letter": {"G", ""},
}

// TestSlowWorkloads is H1: who holds connections by being slow loses them, in
// whichever way it is slow, and meanwhile the others are served.
func TestSlowWorkloads(t *testing.T) {
	w := newWorld(t, func(o *options) { o.Timeouts, o.Records = impatient, &tally{} })
	clear, secure := newOrigin(t, nil, answerLarge), w.originFor(nil, host)
	w.use(policy.Intercept, w.openRoute())
	hello := clientHello(t, host)
	each := times(1000, 5000) / len(slowKinds)
	pause := time.Duration(each) * time.Millisecond // as many drips in all, however many there are
	begun := 0
	var attack sync.WaitGroup
	for name, kind := range slowKinds {
		if name == "handshake" {
			kind.first = string(hello)
		}
		for range each {
			attack.Go(func() { w.beSlow(t, as{cgroup: noisy, original: clear.addr}, name, kind.first, kind.drip, pause) })
		}
		begun += each
		w.until("all of them accepted", func() bool { return w.proxy.Stats().Accepted.Load() >= uint64(begun) }) // the kernel drops what its backlog has no room for
	}
	for range 20 {
		w.served(t, as{cgroup: calm, original: secure.addr})
	}
	attack.Wait()
	w.quiet()
	w.served(t, as{cgroup: noisy, original: secure.addr})
}

// beSlow returns when the connection has ended, and fails if that never happens.
func (w *world) beSlow(t *testing.T, who as, name, first, drip string, pause time.Duration) {
	c, err := w.connect(who)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	_ = c.SetReadBuffer(4 << 10)
	_, _ = io.WriteString(c, first)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		_ = c.SetReadDeadline(time.Now().Add(pause))
		if _, err := c.Read(make([]byte, 16)); err != nil && !timedOut(err) {
			return
		}
		if _, err := io.WriteString(c, drip); err != nil {
			return
		}
		if name == "reading" {
			time.Sleep(50 * time.Millisecond) // that is how slow it is
		}
	}
	t.Errorf("%s: the connection is still there", name)
}

func timedOut(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// answerLarge answers with more than the buffers on the way hold.
func answerLarge(c net.Conn) {
	const size = 16 << 20
	for r := newReader(c); r.request(); {
		if string(r.req.Target) != "/large" {
			_, _ = io.WriteString(c, okResponse)
			continue
		}
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
		_, _ = io.Copy(c, &pattern{n: size})
	}
}

// TestSlowHTTPTest is H1 by the tool of that name, where it is there.
func TestSlowHTTPTest(t *testing.T) {
	if !wholeAbuse() {
		return // `make abuse` installs the tool
	}
	for name, flags := range map[string]string{
		"slow headers": "-H -i 1", "slow body": "-B -i 1 -s 8192 -x 4", "ranges": "-R", "slow read": "-X -w 1 -y 2 -n 1 -z 1 -k 3",
	} {
		t.Run(name, func(t *testing.T) {
			anyone := &everybody{}
			w := newWorld(t, func(o *options) { o.Timeouts, o.Records, o.Flows = impatient, &tally{}, anyone })
			o := newOrigin(t, nil, answerLarge)
			anyone.original.Store(o.addr)
			w.use(policy.Intercept)
			args := append(strings.Fields(flags), "-c", "1000", "-r", "500", "-l", "60", "-u", "http://"+w.ln.Addr().String()+"/large")
			tool := exec.Command("slowhttptest", args...)
			must(t, tool.Start())
			defer func() { _, _ = tool.Process.Kill(), tool.Wait() }()
			// The tool's own verdict is of no use: a reset does not fit into the
			// window of a slow reader, so it takes the connection for alive.
			w.until("1000 connections", func() bool { return w.proxy.Stats().Accepted.Load() >= 1000 })
			w.until("all of them closed", func() bool { return w.proxy.Open() == 0 })
		})
	}
}

// until waits for something to come true.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("never: %s; %d open", what, w.proxy.Open())
		}
	}
}

// everybody takes each connection for one that was captured.
type everybody struct{ original atomic.Value } // netip.AddrPort

func (e *everybody) Lookup(_ uint64, _, remote netip.AddrPort) (flow.Flow, bool) {
	return flow.Flow{
		Cgroup: noisy, Source: remote, Original: e.original.Load().(netip.AddrPort), At: time.Now(), Verdict: flow.VerdictRedirect, Caller: flow.Caller{PID: appPID},
	}, true
}

func (e *everybody) Reaches(uint64, netip.Addr) bool { return true }
