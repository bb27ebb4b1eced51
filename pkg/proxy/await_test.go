package proxy_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/process"
	"github.com/outwarden/outwarden/pkg/proxy"
)

// Names beside host: one that no route is about, and one that nobody may call.
const plainHost, deniedHost = "plain.example.net", "denied.example.net"

// asked counts how many connections were about to be left to the relay.
type asked struct {
	processes
	known atomic.Int32
}

func (a *asked) Known(f *flow.Flow) *process.Identity {
	a.known.Add(1)
	return a.processes.Known(f)
}

// mixed is an interceptor with a route of each kind, and an origin for them all.
func mixed(t *testing.T, settings ...setting) (*world, *origin, *asked) {
	t.Helper()
	a := &asked{}
	w := newWorld(t, append(settings, func(o *options) { o.Processes = a })...)
	all := []string{host, plainHost, deniedHost}
	for _, name := range all {
		w.names[name] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	}
	config := &tls.Config{Certificates: []tls.Certificate{w.partner.leaf(t, all)}}
	o := newOrigin(t, nil, func(c net.Conn) { greetOrAnswer(c, config) })
	w.use(policy.Passthrough, w.partnerRoute(), rule{
		policy.Route{Name: "never", Action: policy.Deny, To: policy.To{Hosts: hosts(t, deniedHost)}}, proxy.Plan{},
	})
	return w, o, a
}

const greeting = "220 ready\r\n"

// greetOrAnswer speaks first where nobody else does; else it answers TLS, or gives
// back what came.
func greetOrAnswer(c net.Conn, config *tls.Config) {
	first := make([]byte, 1)
	_ = c.SetReadDeadline(time.Now().Add(within.Silence))
	n, err := c.Read(first)
	_ = c.SetReadDeadline(time.Time{})
	switch {
	case timedOut(err):
		_, _ = io.WriteString(c, greeting)
		_, _ = io.Copy(c, c)
	case n > 0 && first[0] == 22:
		answerOK(tls.Server(&begun{c, first}, config))
	case n > 0:
		_, _ = io.Copy(c, &begun{c, first})
	}
}

// begun is a connection of which something was read.
type begun struct {
	net.Conn
	first []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) == 0 {
		return b.Conn.Read(p)
	}
	n := copy(p, b.first)
	b.first = b.first[n:]
	return n, nil
}

// call makes a connection by TLS whose client trusts whoever answers.
func (w *world) call(t *testing.T, c net.Conn, name string) string {
	t.Helper()
	roots := w.roots()
	roots.AddCert(w.partner.cert)
	return talk(t, tls.Client(c, &tls.Config{ServerName: name, RootCAs: roots}), plainGet)
}

// How many connections are passed through before those of the process to the address
// are left to the relay, and before it accepts them itself.
const once, often = 1, 8

// settleIn has so many connections passed through.
func (w *world) settleIn(t *testing.T, o *origin, times int) {
	t.Helper()
	for range times {
		if got := w.call(t, w.dial(as{original: o.addr}), plainHost); got != okResponse {
			t.Fatalf("answer %q", got)
		}
		w.quiet()
	}
	w.records.forget()
}

// TestAwaited: what becomes of a connection is the same whether or not the one
// before it was passed through, and so is its record.
func TestAwaited(t *testing.T) {
	named := func(name string) func(*testing.T, *world, *net.TCPConn) string {
		return func(t *testing.T, w *world, c *net.TCPConn) string { return w.call(t, c, name) }
	}
	says := func(what string) func(*testing.T, *world, *net.TCPConn) string {
		return func(t *testing.T, _ *world, c *net.TCPConn) string { return talk(t, c, what) }
	}
	for name, f := range map[string]func(t *testing.T, w *world, c *net.TCPConn) string{
		"passed": named(plainHost), "intercepted": named(host), "denied": named(deniedHost),
		"opaque": says("\x00opaque"), "no word": says(""), "half a hello": says(halfHello),
		"a bad hello": says("\x16\x03\x01\x00\x09\x01\x00\x00\x05" + strings.Repeat("\x00", 5)),
		"in pieces":   func(t *testing.T, w *world, c *net.TCPConn) string { return w.call(t, &dribble{Conn: c}, plainHost) },
		"late": func(t *testing.T, w *world, c *net.TCPConn) string {
			expectRead(t, c, greeting)
			return talk(t, c, "echo")
		},
		"reset": func(_ *testing.T, _ *world, c *net.TCPConn) string {
			_ = c.SetLinger(0)
			_ = c.Close()
			return ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			said, trail := outcome(t, f, 0)
			for _, before := range []int{once, often} {
				again, after := outcome(t, f, before)
				if diff := cmp.Diff(said, again); diff != "" {
					t.Errorf("after %d the workload saw something else: %s", before, diff)
				}
				if diff := cmp.Diff(trail, after); diff != "" || len(trail) == 0 {
					t.Errorf("after %d: %d records, and others: %s", before, len(trail), diff)
				}
			}
		})
	}
}

// outcome makes one connection in a world of its own, and says what the workload saw of
// it and what the trail says.
func outcome(t *testing.T, f func(*testing.T, *world, *net.TCPConn) string, before int) (string, []string) {
	t.Helper()
	w, o, a := mixed(t)
	w.settleIn(t, o, before)
	a.known.Store(0)
	saw := f(t, w, w.dial(as{original: o.addr}))
	w.until("accepted", func() bool { return w.proxy.Stats().Accepted.Load() == uint64(before+1) })
	w.quiet()
	if left := a.known.Load() > 0; left != (before > 0) {
		t.Errorf("left to the relay: %v", left)
	}
	return saw, w.records.alike()
}

// alike are the records without what is different each time.
func (r *records) alike() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range r.all {
		rec.Time, rec.Flow, rec.DurationMS, rec.Original, rec.Upstream = time.Time{}, "", 0, nil, nil
		if rec.SNI == plainHost {
			rec.BytesIn = 0 // ECDSA signatures differ in length
		}
		all = append(all, string(rec.Line()))
	}
	return all
}

// TestAwaitedInVain: an origin that is not there is told, also where the loop has
// found it out.
func TestAwaitedInVain(t *testing.T) {
	w, o, _ := mixed(t)
	w.settleIn(t, o, often)
	_ = o.ln.Close()
	if got := w.call(t, w.dial(as{original: o.addr}), plainHost); got != "" {
		t.Errorf("answer %q", got)
	}
	if r := w.connection(); r.Reason != "upstream_unreachable" || r.SNI != plainHost {
		t.Errorf("record %+v", r)
	}
}

// held is a trail that is between two places: nothing is written until it is let go.
type held struct {
	*records
	letGo chan struct{}
	waits atomic.Bool
}

func (h *held) Waits() bool { return h.waits.Load() }

func (h *held) Append(r *audit.Record) error {
	if h.Waits() {
		<-h.letGo
	}
	return h.records.Append(r)
}

// TestAwaitedWithoutTrail: while records wait, as they do while one daemon relieves
// another, connections that the relay carries go on, and new ones are carried.
func TestAwaitedWithoutTrail(t *testing.T) {
	h := &held{records: &records{}, letGo: make(chan struct{})}
	w, o, _ := mixed(t, func(o *options) { o.Records = h })
	w.settleIn(t, o, often)
	h.waits.Store(true)
	calls := 2*runtime.GOMAXPROCS(0) + 1
	for range calls {
		if got := w.call(t, w.dial(as{original: o.addr}), plainHost); got != okResponse {
			t.Errorf("answer %q", got)
		}
	}
	close(h.letGo)
	w.quiet()
	if n := len(h.of(audit.KindConnection)) - often; n != calls {
		t.Errorf("%d records of %d connections", n, calls)
	}
}

// TestAwaitedOutOfDescriptors: a connection that comes back from the relay while none
// is left for it is reset, and has a record.
func TestAwaitedOutOfDescriptors(t *testing.T) {
	w, o, a := mixed(t)
	w.settleIn(t, o, often)
	a.known.Store(0)
	c := w.dial(as{original: o.addr})
	w.until("left to the relay", func() bool { return a.known.Load() > 0 })
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: limit.Max}))
	_, said := io.WriteString(c, "\x00opaque")
	_, err := c.Read(make([]byte, 1))
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	must(t, said)
	if !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("read %v, want a reset", err)
	}
	if r := w.connection(); r.Reason != "internal" || r.Decision != "deny" || r.Process == nil {
		t.Errorf("record %+v", r)
	}
	if !w.defects.has(unix.EMFILE) {
		t.Errorf("reported %v", w.defects.all)
	}
}

// TestAwaitedAtClose: who is waited for when the proxy loses patience is reset, and
// has a record.
func TestAwaitedAtClose(t *testing.T) {
	w, o, a := mixed(t, func(o *options) { o.Timeouts.Silence = time.Minute })
	w.settleIn(t, o, often)
	a.known.Store(0)
	c := w.dial(as{original: o.addr})
	w.until("left to the relay", func() bool { return a.known.Load() > 0 })
	_ = w.ln.Close()
	closed := make(chan struct{})
	go func() { _ = w.proxy.Close(); close(closed) }()
	if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("read %v, want a reset", err)
	}
	<-closed
	if r := w.connection(); r.Reason != "workload_closed" || w.proxy.Open() > 0 {
		t.Errorf("record %+v, %d open", r, w.proxy.Open())
	}
}

// TestAwaitedShare: a workload has its share, however its connections are waited for.
func TestAwaitedShare(t *testing.T) {
	const room, half = 4, 2
	w, o, _ := mixed(t, func(o *options) { o.MaxConns, o.Timeouts.Silence = room, time.Minute })
	w.settleIn(t, o, often)
	for range half + 1 {
		_, _ = w.tryDial(as{original: o.addr}) // one may be refused while it looks
	}
	if r := w.connection(); r.Reason != "connection_limit" || r.Process == nil {
		t.Errorf("record %+v", r)
	}
}
