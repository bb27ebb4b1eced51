package proxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/authority"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/proxy"
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
	asTheDaemon := net.ListenConfig{KeepAlive: -1}
	l, err := asTheDaemon.Listen(w.t.Context(), "tcp", "127.0.0.1:0")
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
	d := net.Dialer{Timeout: 30 * time.Second, Control: func(_, _ string, rc syscall.RawConn) error {
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

// quiet waits until no flow is served any more, so that every record is there.
func (w *world) quiet() {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); w.proxy.Open() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%d flows are still served", w.proxy.Open())
		}
	}
}
