package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/dns"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/netnstest"
)

func recordAddresses(list *[]string) func(string, string, syscall.RawConn) error {
	var mu sync.Mutex
	return func(_, address string, _ syscall.RawConn) error {
		mu.Lock()
		defer mu.Unlock()
		*list = append(*list, address)
		return nil
	}
}

// plain is a clear text target.
func plain(o *origin, p *Profile) Target {
	return Target{Key: Key{Host: testHost, Port: o.addr.Port(), Profile: p.ID()}, Profile: p, Cleartext: true}
}

func TestEgressIPIsTheSource(t *testing.T) {
	o := newOrigin(t, &origin{})
	p := newPool(t, Options{})
	source := netip.MustParseAddr("127.0.0.77")
	for range 3 {
		c := mustGet(t, p, plain(o, &Profile{Name: "egress", EgressIP: source, AllowPrivate: true}))
		if got := c.Facts.Local.Addr(); got != source || c.Facts.EgressIP != source {
			t.Errorf("source is %v, facts say %v", got, c.Facts.EgressIP)
		}
		if got := exchange(t, c); got != okResponse {
			t.Errorf("got %q", got)
		}
		_ = c.Close()
	}
}

// Who asks is told of a new connection once, before TLS is spoken on it, and of a
// pooled one not at all.
func TestConnectedIsTold(t *testing.T) {
	o, root := secure(t, &origin{})
	p := newPool(t, Options{})
	told := 0
	ctx := WhenConnected(t.Context(), func() {
		if told++; p.Stats().Dials != 1 || p.Stats().Handshakes != 0 {
			t.Errorf("told at %+v", p.Stats())
		}
	})
	to := target(o, root.pool())
	for range 2 {
		c, err := p.Get(ctx, &to)
		if err != nil {
			t.Fatal(err)
		}
		exchange(t, c)
		p.Put(c)
	}
	if told != 1 {
		t.Errorf("told %d times, want once", told)
	}
}

func TestEgressIPThatIsNotHere(t *testing.T) {
	o := newOrigin(t, &origin{})
	p := newPool(t, Options{})
	for _, s := range []string{"198.51.100.20", "2001:db8::20", "::1"} {
		refused(t, p, plain(o, &Profile{Name: "egress", EgressIP: netip.MustParseAddr(s), AllowPrivate: true}), flow.ReasonEgressUnavailable)
	}
	if o.conns.Load() != 0 {
		t.Error("the origin was reached from another source")
	}
}

// TestEgressIPInANetworkNamespace is scorecard A9 with an address that comes and
// goes.
func TestEgressIPInANetworkNamespace(t *testing.T) {
	here, there := netnstest.New(t), netnstest.New(t)
	link, _ := here.Veth(there,
		[]netip.Prefix{netip.MustParsePrefix("198.51.100.1/24"), netip.MustParsePrefix("2001:db8:1::1/64")},
		[]netip.Prefix{netip.MustParsePrefix("198.51.100.2/24"), netip.MustParsePrefix("2001:db8:1::2/64")})
	for _, family := range []struct{ server, source, length string }{
		{"198.51.100.2", "198.51.100.20", "/24"},
		{"2001:db8:1::2", "2001:db8:1::20", "/64"},
	} {
		o := new(origin)
		there.Do(func() { newOriginAt(t, o, net.JoinHostPort(family.server, "0")) })
		p := newPool(t, Options{Resolver: resolver(t, family.server+" "+testHost)})
		source := netip.MustParseAddr(family.source)
		to := plain(o, &Profile{Name: "egress", EgressIP: source})
		here.Do(func() { refused(t, p, to, flow.ReasonEgressUnavailable) })
		here.Address(link, netip.MustParsePrefix(family.source+family.length))
		here.Do(func() {
			c := mustGet(t, p, to)
			defer c.Close()
			if exchange(t, c); c.Facts.Local.Addr() != source {
				t.Errorf("source is %v", c.Facts.Local)
			}
		})
		if n := o.conns.Load(); n != 1 {
			t.Errorf("%d connections reached the origin", n)
		}
	}
}

// TestProxyEnvironmentIsIgnored: crypto/tls and net.Dialer know no proxies; this
// holds it.
func TestProxyEnvironmentIsIgnored(t *testing.T) {
	proxy := newOrigin(t, &origin{})
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, "http://"+proxy.addr.String())
	}
	root := newCA(t, recipe{cn: "root"}, nil)
	o := newOrigin(t, &origin{config: &tls.Config{Certificates: []tls.Certificate{root.leaf(t, recipe{})}}})
	c := mustGet(t, newPool(t, Options{}), target(o, root.pool()))
	defer c.Close()
	exchange(t, c)
	if proxy.conns.Load() != 0 || c.Facts.Remote != o.addr {
		t.Errorf("went to %v", c.Facts.Remote)
	}
}

func TestOriginalDestinationIsDialled(t *testing.T) {
	root := newCA(t, recipe{cn: "root"}, nil)
	o := newOrigin(t, &origin{config: &tls.Config{Certificates: []tls.Certificate{
		root.leaf(t, recipe{names: []string{testHost}, addr: net.IPv4(127, 0, 0, 1)}),
	}}})
	nowhere := Options{Resolver: resolver(t)}
	to := target(o, root.pool(), func(t *Target) { t.Key.Addr, t.Profile.AllowPrivate = loopback, false })
	c := mustGet(t, newPool(t, nowhere), to)
	exchange(t, c)
	_ = c.Close()
	if c.Facts.Resolved || c.Facts.Remote != o.addr || !c.Facts.Verified() {
		t.Errorf("facts %+v", c.Facts)
	}
	to.Key.Host = "other.test"
	refused(t, newPool(t, nowhere), to, flow.ReasonUpstreamName)
	to.Key.Host = "" // the workload gave no name: the address is verified, and it is no route's host
	c = mustGet(t, newPool(t, nowhere), to)
	exchange(t, c)
	_ = c.Close()
	if c.Facts.Verified() {
		t.Error("a target without a host counts as verified for it")
	}
	to.Key.Addr = netip.IPv4Unspecified()
	refused(t, newPool(t, nowhere), to, flow.ReasonAddressDenied)
}

func TestOwnListenerIsALoop(t *testing.T) {
	o := newOrigin(t, &origin{})
	p := newPool(t, Options{Listener: func(a netip.AddrPort) bool { return a == o.addr }})
	to := plain(o, &Profile{AllowPrivate: true})
	refused(t, p, to, flow.ReasonLoop)
	to.Key.Addr = netip.MustParseAddr("::ffff:127.0.0.1")
	refused(t, p, to, flow.ReasonLoop)
	if o.conns.Load() != 0 {
		t.Error("the listener was reached")
	}
}

func TestFailuresHaveReasons(t *testing.T) {
	gone := newOrigin(t, &origin{})
	gone.stop()
	silent := newOrigin(t, &origin{serve: func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }})
	hangsUp := newOrigin(t, &origin{serve: func(c net.Conn) { _, _ = c.Read(make([]byte, 1<<10)) }})
	quick := Options{Timeouts: Timeouts{Handshake: 100 * time.Millisecond}}

	refused(t, newPool(t, Options{}), target(gone, nil), flow.ReasonUpstreamUnreachable)
	refused(t, newPool(t, quick), target(silent, nil), flow.ReasonUpstreamTimeout)
	refused(t, newPool(t, Options{}), target(hangsUp, nil), flow.ReasonUpstreamUnreachable)
	err := refused(t, newPool(t, Options{Resolver: resolver(t)}), target(gone, nil, func(t *Target) { t.Key.Host = "0x7f.1" }), flow.ReasonResolveFailed)
	if !errors.Is(err, dns.ErrNotFound) {
		t.Errorf("%v does not wrap dns.ErrNotFound", err)
	}
	noResolver := NewPool(Options{})
	defer noResolver.Close()
	refused(t, noResolver, target(gone, nil), flow.ReasonResolveFailed)
	refused(t, noResolver, Target{}, flow.ReasonResolveFailed)

	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	toSilent := target(silent, nil)
	if _, err := newPool(t, Options{}).Get(ctx, &toSilent); ReasonOf(err) != flow.ReasonWorkloadClosed {
		t.Errorf("workload left: %v", err)
	}
	mixed := target(gone, nil)
	mixed.Key.Profile = ProfileID{"another", "1"}
	refused(t, newPool(t, Options{}), mixed, flow.ReasonPoolMismatch)

	closed := newPool(t, Options{})
	closed.Close()
	refused(t, closed, target(silent, nil), flow.ReasonInternal)
}

func TestReasonOfNothing(t *testing.T) {
	if ReasonOf(nil) != flow.ReasonNone {
		t.Error("no error has a reason")
	}
	if ReasonOf(errors.New("tls: whatever")) != flow.ReasonUpstreamTLS {
		t.Error("an unknown error has no reason")
	}
}

// TestNextAddressIsTried: addresses that refuse or don't answer do not keep the
// good one from being reached, whichever family comes first.
func TestNextAddressIsTried(t *testing.T) {
	o := newOrigin(t, &origin{})
	p := newPool(t, Options{Resolver: resolver(t, "127.0.0.9 "+testHost, "::1 "+testHost, "127.0.0.1 "+testHost, "169.254.169.254 "+testHost)})
	c := mustGet(t, p, plain(o, &Profile{AllowPrivate: true}))
	defer c.Close()
	if c.Facts.Remote != o.addr || !c.Facts.Resolved {
		t.Errorf("facts %+v", c.Facts)
	}
	o.stop()
	refused(t, p, Target{Key: Key{Host: testHost, Port: o.addr.Port(), Route: "x"}, Profile: &Profile{AllowPrivate: true}, Cleartext: true}, flow.ReasonUpstreamUnreachable)
}

func TestFamiliesAlternate(t *testing.T) {
	var in []netip.Addr
	for _, s := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"} {
		in = append(in, netip.MustParseAddr(s))
	}
	got := alternate(in)
	want := []netip.Addr{in[3], in[0], in[1], in[2]}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}
