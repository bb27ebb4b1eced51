package proxy_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/authority"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/match"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/process"
	"github.com/outwarden/outwarden/pkg/proxy"
	"github.com/outwarden/outwarden/pkg/relay"
	"github.com/outwarden/outwarden/pkg/secret"
	"github.com/outwarden/outwarden/pkg/upstream"
)

const (
	host   = "api.example.com"   // the partner; also the host of the conformance cases
	canary = "canary-5e7c41d09b" // the secret of every test
)

// Processes that call: the one that routes are for, and another.
const (
	appPID   = 100
	otherPID = 200
)

// world is an interceptor, the hosts it can resolve, and what it wrote down.
type world struct {
	t       testing.TB
	proxy   *proxy.Proxy
	pool    *upstream.Pool
	ca      *authority.Authority
	partner *partnerCA
	names   names
	flows   *flows
	records *records
	defects *defects
	ln      *listener
	next    atomic.Uint64 // cookie
}

type options = proxy.Options

// setting changes the options of a world before it starts.
type setting func(*options)

// within are timeouts that let a test that waits for one end soon.
var within = proxy.Timeouts{
	Silence: 150 * time.Millisecond, Hello: 3 * time.Second, Head: 3 * time.Second, Idle: 3 * time.Second,
	Response: 5 * time.Second, BodyStall: 5 * time.Second, Drain: 300 * time.Millisecond,
}

// newWorld starts an interceptor without a configuration; see use.
func newWorld(t testing.TB, settings ...setting) *world {
	t.Helper()
	checkLeaks(t)
	ca, err := authority.Open(t.TempDir()+"/authority", authority.Options{})
	must(t, err)
	w := &world{
		t: t, ca: ca, partner: newPartnerCA(t), names: names{}, flows: newFlows(), records: &records{}, defects: &defects{},
	}
	w.pool = upstream.NewPool(upstream.Options{Resolver: w.names, OwnRoot: ca.Issued})
	t.Cleanup(w.pool.Close)
	o := proxy.Options{
		Flows: w.flows, Processes: processes{}, Leaves: ca, Records: w.records, Resolver: w.names, Timeouts: within, Dial: dialPlain, OnDefect: w.defects.add,
	}
	for _, set := range settings {
		set(&o)
	}
	w.proxy = proxy.New(o)
	w.listen()
	return w
}

// checked are the tests that look for leaks when all their worlds have ended. A
// world must not look for itself: the ones beside it are still at work then.
var checked sync.Map

func checkLeaks(t testing.TB) {
	if _, again := checked.LoadOrStore(t, true); again {
		return
	}
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { noLeaks(t, ignore) })
}

// noLeaks waits for goroutines to end: an origin of net/http stays for a second
// behind its GOAWAY, longer than goleak looks by itself on a loaded machine.
func noLeaks(t testing.TB, ignore goleak.Option) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if err = goleak.Find(ignore); err == nil {
			return
		}
	}
	t.Error(err)
}

// listener tells when it is closed.
type listener struct {
	*net.TCPListener
	once   sync.Once
	closed chan struct{}
}

func (l *listener) Close() error {
	defer l.once.Do(func() { close(l.closed) })
	return l.TCPListener.Close()
}

func (w *world) listen() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(w.t, err)
	w.ln = &listener{TCPListener: l.(*net.TCPListener), closed: make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- w.proxy.Serve(w.ln.TCPListener, 0, w.ln.closed) }()
	w.t.Cleanup(func() {
		_ = w.ln.Close()
		if err := errors.Join(<-served, w.proxy.Close()); err != nil {
			w.t.Error(err)
		}
	})
}

// rule is a route with its plan.
type rule struct {
	route policy.Route
	plan  proxy.Plan
}

// use loads a configuration.
func (w *world) use(def policy.Action, rules ...rule) *proxy.Snapshot {
	s := w.snapshot(def, rules...)
	w.proxy.SetSnapshot(s)
	return s
}

func (w *world) snapshot(def policy.Action, rules ...rule) *proxy.Snapshot {
	s := &proxy.Snapshot{Upstream: inject.Over(w.pool), Default: w.profile("default")}
	var routes []policy.Route
	for _, r := range rules {
		routes = append(routes, r.route)
		r.plan.Hosts = r.route.To.Hosts
		s.Plans = append(s.Plans, r.plan)
	}
	s.Policy = policy.New(routes, def)
	return s
}

func (w *world) profile(name string) *upstream.Profile {
	return &upstream.Profile{Name: name, Roots: w.partner.pool(), AllowPrivate: true, Version: "1"}
}

// partnerRoute gives the application the canary as a bearer token for host.
func (w *world) partnerRoute(change ...func(*rule)) rule {
	w.t.Helper()
	r := rule{
		route: policy.Route{
			Name: "partner", Action: policy.Intercept, To: policy.To{Hosts: hosts(w.t, host)},
			From: policy.From{Exe: globs(w.t, "/opt/app/*")},
		},
		plan: proxy.Plan{Inject: bearer(w.t), Upstream: w.profile("partner"), SignedBody: 1 << 20},
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

func bearer(t testing.TB) *inject.Plan {
	t.Helper()
	return credentials(t, inject.Credential{Name: "token", Version: "1", Form: inject.Bearer, Value: secret.New([]byte(canary))})
}

func credentials(t testing.TB, c ...inject.Credential) *inject.Plan {
	t.Helper()
	p, err := inject.NewPlan(c, nil)
	must(t, err)
	return p
}

func hosts(t testing.TB, patterns ...string) (out []match.Host) {
	t.Helper()
	for _, p := range patterns {
		h, err := match.ParseHost(p)
		must(t, err)
		out = append(out, h)
	}
	return out
}

func globs(t testing.TB, patterns ...string) (out []match.Glob) {
	t.Helper()
	for _, p := range patterns {
		g, err := match.ParseGlob(p)
		must(t, err)
		out = append(out, g)
	}
	return out
}

func paths(t testing.TB, patterns ...string) (out []match.Path) {
	t.Helper()
	for _, s := range patterns {
		p, err := match.ParsePath(s)
		must(t, err)
		out = append(out, p)
	}
	return out
}

// originFor starts a TLS origin with a good certificate for the names, which
// resolve to it. nil serve answers "ok".
func (w *world) originFor(serve func(net.Conn), serverNames ...string) *origin {
	w.t.Helper()
	for _, name := range serverNames {
		w.names[name] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	}
	return newOrigin(w.t, &tls.Config{Certificates: []tls.Certificate{w.partner.leaf(w.t, serverNames)}}, serve)
}

// as says who connects and where to.
type as struct {
	pid      uint32
	cgroup   uint64
	original netip.AddrPort
	unknown  bool // the kernel has no record
	away     bool // in another network namespace
	guest    bool
}

// dial connects to the interceptor as a redirected connection would arrive.
func (w *world) dial(who as) *net.TCPConn {
	w.t.Helper()
	c, err := w.tryDial(who)
	must(w.t, err)
	return c
}

func (w *world) tryDial(who as) (*net.TCPConn, error) {
	c, err := w.connect(who)
	if err != nil {
		return nil, err
	}
	w.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c, nil
}

// connect is tryDial for who makes many: the caller closes, and sets deadlines.
func (w *world) connect(who as) (*net.TCPConn, error) {
	if who.pid == 0 {
		who.pid = appPID
	}
	d := net.Dialer{Timeout: 5 * time.Second, Control: func(_, _ string, rc syscall.RawConn) error {
		var published error
		err := rc.Control(func(fd uintptr) { published = w.publish(int(fd), who) })
		return errors.Join(err, published)
	}}
	c, err := d.Dial("tcp", w.ln.Addr().String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// publish does what the hooks do before the SYN: it makes the source known.
func (w *world) publish(fd int, who as) error {
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	sa, err := unix.Getsockname(fd)
	if err != nil || who.unknown {
		return err
	}
	in := sa.(*unix.SockaddrInet4)
	source := netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port))
	w.flows.add(flow.Flow{
		Cookie: w.next.Add(1), Cgroup: who.cgroup, Source: source, Original: who.original, At: time.Now(), Verdict: flow.VerdictRedirect,
		Away: who.away, Guest: who.guest, Caller: flow.Caller{PID: who.pid, Start: time.Second, Comm: "client"},
	})
	return nil
}

// tls is a handshaken TLS connection of a workload that trusts our authority.
func (w *world) tls(who as, sni string, alpn ...string) *tls.Conn {
	w.t.Helper()
	c, err := w.tryTLS(who, sni, alpn...)
	must(w.t, err)
	return c
}

func (w *world) tryTLS(who as, sni string, alpn ...string) (*tls.Conn, error) {
	roots := x509.NewCertPool()
	roots.AddCert(w.ca.Root())
	c := tls.Client(w.dial(who), &tls.Config{ServerName: sni, RootCAs: roots, NextProtos: alpn})
	return c, c.Handshake()
}

// say sends bytes on a new TLS connection for host and returns all of the answer.
func (w *world) say(o *origin, request string) string {
	w.t.Helper()
	return talk(w.t, w.tls(as{original: o.addr}, host), request)
}

// talk sends request, ends its side, and returns what came until the end.
func talk(t testing.TB, c net.Conn, request string) string {
	t.Helper()
	_, _ = io.WriteString(c, request)
	_ = c.(interface{ CloseWrite() error }).CloseWrite()
	got, _ := io.ReadAll(c)
	_ = c.Close()
	return string(got)
}

// names is a resolver: host to addresses.
type names map[string][]netip.Addr

func (n names) Lookup(_ context.Context, name string) ([]netip.Addr, error) {
	if addrs := n[name]; len(addrs) > 0 {
		return addrs, nil
	}
	return nil, errors.New("no such host: " + name)
}

// Knows says what Lookup would.
func (n names) Knows(name string, a netip.Addr) bool { return slices.Contains(n[name], a) }

// flows are the kernel's records: each is given out once.
type flows struct {
	mu sync.Mutex
	m  map[netip.AddrPort]flow.Flow
}

func newFlows() *flows { return &flows{m: make(map[netip.AddrPort]flow.Flow)} }

func (f *flows) add(r flow.Flow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.m[r.Source] = r
}

func (f *flows) Lookup(_ uint64, _, remote netip.AddrPort) (flow.Flow, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.m[remote]
	delete(f.m, remote)
	return r, ok
}

// Reaches holds but for the documentation's third network.
func (f *flows) Reaches(_ uint64, to netip.Addr) bool {
	return !netip.MustParsePrefix("203.0.113.0/24").Contains(to)
}

// processes knows the two pids of the tests.
type processes struct{}

var identities = map[uint32]*process.Identity{
	appPID:   {PID: appPID, Exe: "/opt/app/client", UID: 1000},
	otherPID: {PID: otherPID, Exe: "/usr/bin/other", UID: 1000},
}

func (processes) Known(f *flow.Flow) *process.Identity { return identities[f.Caller.PID] }

func (processes) Resolve(f *flow.Flow) (*process.Identity, error) {
	return identities[f.Caller.PID], nil
}

// defects are what the interceptor reports of itself.
type defects struct {
	mu  sync.Mutex
	all []error
}

func (d *defects) add(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, err)
}

func (d *defects) has(err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.all, func(is error) bool { return errors.Is(is, err) })
}

// records is a trail in memory.
type records struct {
	mu   sync.Mutex
	all  []audit.Record
	fail error // what Append returns
}

func (*records) Waits() bool { return false }

func (r *records) Append(rec *audit.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	var copied audit.Record // what a reader of the trail sees
	if err := json.Unmarshal(rec.Line(), &copied); err != nil {
		return err
	}
	r.all = append(r.all, copied)
	return nil
}

func (r *records) of(kind string) (out []audit.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range r.all {
		if rec.Kind == kind {
			out = append(out, rec)
		}
	}
	return out
}

func (r *records) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = nil
}

func (r *records) breakWith(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// awaitKind returns the records of a kind once there are n, and fails if there
// are not within some seconds, or more.
func (w *world) awaitKind(kind string, n int) []audit.Record {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if got := w.records.of(kind); len(got) >= n {
			if len(got) > n {
				w.t.Errorf("%d %s records, want %d: %+v", len(got), kind, n, got)
			}
			return got
		}
	}
	w.t.Fatalf("%s records: %+v; want %d", kind, w.records.of(kind), n)
	return nil
}

// request is the record of the only request there was.
func (w *world) request() audit.Record {
	w.t.Helper()
	return w.awaitKind(audit.KindRequest, 1)[0]
}

// connection is the record of the only connection without a request.
func (w *world) connection() audit.Record {
	w.t.Helper()
	return w.awaitKind(audit.KindConnection, 1)[0]
}

// quiet waits until no flow is served any more, so that every record is there.
func (w *world) quiet() {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); w.proxy.Open() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%d flows are still served", w.proxy.Open())
		}
	}
}

func dialPlain(from netip.Addr, to netip.AddrPort, speaks bool) (int, error) {
	return relay.Dial(from, to, speaks, nil)
}
