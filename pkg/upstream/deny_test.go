package upstream

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/outwarden/outwarden/pkg/flow"
)

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// deniedHosts is the SSRF set (T15): as a host each is refused by some part on
// the way, be it the resolver or the ranges. Never: not even if private addresses
// are allowed.
var deniedHosts = []struct {
	host  string
	never bool
}{
	{"127.0.0.1", false}, {"127.1.2.3", false}, {"127.255.255.254", false}, {"::1", false}, {"[::1]", false},
	{"localhost", false}, {"x.localhost", false}, {"LOCALHOST.", false},
	{"::ffff:127.0.0.1", false}, {"::ffff:7f00:1", false}, {"0:0:0:0:0:ffff:7f00:0001", false}, {"::127.0.0.1", false},
	{"::ffff:0:127.0.0.1", false}, {"64:ff9b::127.0.0.1", false}, {"64:ff9b::10.0.0.1", false}, {"64:ff9b:1::1", false},
	{"2002:7f00:1::", false}, {"2002:a00:1::1", false}, {"2002:c0a8:101::", false}, {"2001:0:7f00:1::", false},
	{"2001:0:c633:6401::80ff:fffe", false}, {"2001:db8::5efe:127.0.0.1", false}, {"2001:db8::200:5efe:10.0.0.1", false},
	{"10.0.0.1", false}, {"172.16.0.1", false}, {"172.31.255.255", false}, {"192.168.1.1", false},
	{"100.64.0.1", false}, {"100.127.255.255", false}, {"fc00::1", false}, {"fdff::1", false}, {"fec0::1", false},
	{"0.0.0.0", true}, {"0.1.2.3", true}, {"::", true}, {"::ffff:0.0.0.0", true},
	{"169.254.169.254", true}, {"169.254.1.1", true}, {"::ffff:169.254.169.254", true}, {"::ffff:a9fe:a9fe", true},
	{"::169.254.169.254", true}, {"64:ff9b::a9fe:a9fe", true}, {"64:ff9b:1::a9fe:a9fe", true}, {"2002:a9fe:a9fe::", true},
	{"fe80::1", true}, {"fe80::1%lo", true}, {"febf::1", true}, {"fd00:ec2::254", true}, {"fd20:ce::254", true},
	{"168.63.129.16", true}, {"100.100.100.200", true}, {"192.0.0.192", true}, {"192.0.0.8", true},
	{"224.0.0.1", true}, {"239.255.255.255", true}, {"ff02::1", true}, {"240.0.0.1", true}, {"255.255.255.255", true},
	{"192.88.99.1", true}, {"100::1", true},
	{"0x7f.0.0.1", true}, {"0x7f000001", true}, {"2130706433", true}, {"0177.0.0.1", true}, {"017700000001", true},
	{"127.1", true}, {"127.0.1", true}, {"0", true}, {"127.0.0.1.", true}, {"0xa9.0xfe.0xa9.0xfe", true}, {"2852039166", true},
	{"①②⑦.0.0.1", true}, {"127。0。0。1", true}, {"127.0.0.1%00", true}, {"127.0.0.1:443", true},
}

func TestDeniedHosts(t *testing.T) {
	if len(deniedHosts) < 40 {
		t.Fatalf("%d encodings", len(deniedHosts))
	}
	o := newOrigin(t, &origin{})
	p := newPool(t, Options{})
	for _, tt := range deniedHosts {
		for _, private := range []bool{false, true} {
			if private && !tt.never {
				continue
			}
			to := Target{Key: Key{Host: tt.host, Port: o.addr.Port()}, Cleartext: true, Profile: &Profile{AllowPrivate: private}}
			c, err := p.Get(context.Background(), to)
			if err == nil {
				t.Errorf("%s connected to %v", tt.host, c.Facts.Remote)
				_ = c.Close()
				continue
			}
			if r := ReasonOf(err); r != flow.ReasonAddressDenied && r != flow.ReasonResolveFailed {
				t.Errorf("%s: %v", tt.host, err)
			}
		}
	}
	if o.conns.Load() != 0 || p.Stats().Dials != 0 {
		t.Errorf("%d connections reached the origin", o.conns.Load())
	}
}

func TestDeniedRange(t *testing.T) {
	allowed := []string{
		"192.0.2.1", "198.51.100.20", "203.0.113.9", "198.18.0.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "11.0.0.1",
		"2001:db8::1", "2606:4700::1", "64:ff9b::8.8.8.8", "2002:808:808::1", "::ffff:8.8.8.8", "2001:db8::5efe:8.8.8.8",
	}
	for _, s := range allowed {
		if name := DeniedRange(netip.MustParseAddr(s), false); name != "" {
			t.Errorf("%s is denied as %s", s, name)
		}
	}
	names := map[string]string{
		"127.0.0.1": "loopback", "::1": "loopback", "10.1.1.1": "private", "fd12::1": "unique local", "100.64.0.1": "shared (CGNAT)",
		"169.254.169.254": "metadata", "fd00:ec2::254": "metadata", "fe80::1": "link-local", "2002:a9fe:a9fe::": "metadata, embedded",
	}
	for s, want := range names {
		if got := DeniedRange(netip.MustParseAddr(s), false); got != want {
			t.Errorf("%s is %q, want %q", s, got, want)
		}
	}
	if DeniedRange(netip.Addr{}, true) == "" {
		t.Error("the zero address may be dialled")
	}
}

// rebinding answers another address every time (D7): public first, then ours.
type rebinding struct{ n atomic.Int32 }

func (r *rebinding) Lookup(context.Context, string) ([]netip.Addr, error) {
	if r.n.Add(1)%2 == 1 {
		return []netip.Addr{netip.MustParseAddr("198.51.100.1"), loopback}, nil
	}
	return []netip.Addr{loopback}, nil
}

// TestRebindingChangesNothing: the name is resolved once for a dial, and what is
// dialled is what was judged.
func TestRebindingChangesNothing(t *testing.T) {
	o := newOrigin(t, &origin{})
	r := new(rebinding)
	var addresses []string
	p := newPool(t, Options{Resolver: r, Control: recordAddresses(&addresses)})
	to := Target{Key: Key{Host: testHost, Port: o.addr.Port()}, Cleartext: true}
	for range 2 {
		if c, err := p.Get(context.Background(), to); err == nil {
			t.Errorf("connected to %v", c.Facts.Remote)
		}
	}
	if r.n.Load() != 2 || o.conns.Load() != 0 {
		t.Errorf("resolved %d times for two dials, %d connections", r.n.Load(), o.conns.Load())
	}
	for _, a := range addresses {
		if netip.MustParseAddrPort(a).Addr() != netip.MustParseAddr("198.51.100.1") {
			t.Errorf("%s reached the socket", a)
		}
	}
}

// TestControlJudgesWhatIsDialled: even if an address slips by the first check,
// the socket does not connect to it.
func TestControlJudgesWhatIsDialled(t *testing.T) {
	o := newOrigin(t, &origin{})
	p := newPool(t, Options{})
	to := &Target{Key: Key{Host: testHost, Port: o.addr.Port()}}
	for _, a := range []netip.Addr{loopback, netip.IPv6Loopback(), netip.MustParseAddr("::ffff:127.0.0.1"), netip.IPv4Unspecified()} {
		if _, err := p.connect(context.Background(), to, a); ReasonOf(err) != flow.ReasonAddressDenied {
			t.Errorf("%v: %v", a, err)
		}
	}
	if o.conns.Load() != 0 {
		t.Error("the origin was reached")
	}
}

func FuzzDeniedRange(f *testing.F) {
	for _, tt := range deniedHosts {
		if a, err := netip.ParseAddr(tt.host); err == nil {
			f.Add(a.AsSlice())
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		if DeniedRange(a, true) != "" && DeniedRange(a, false) == "" {
			t.Errorf("%v: allowing private addresses denies it", a)
		}
		if a.Is4() && DeniedRange(a, false) != DeniedRange(netip.AddrFrom16(a.As16()), false) {
			t.Errorf("%v: mapped and plain differ", a)
		}
	})
}
