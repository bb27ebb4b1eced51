package upstream

import (
	"context"
	"net/netip"
	"slices"
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
			c, err := p.Get(context.Background(), &to)
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
		if c, err := p.Get(context.Background(), &to); err == nil {
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
		for _, private := range []bool{false, true} {
			if got, want := DeniedRange(a, private), plainRange(a, private); got != want {
				t.Errorf("%v, private %v: %q, want %q", a, private, got, want)
			}
		}
		if DeniedRange(a, true) != "" && DeniedRange(a, false) == "" {
			t.Errorf("%v: allowing private addresses denies it", a)
		}
		if a.Is4() && DeniedRange(a, false) != DeniedRange(netip.AddrFrom16(a.As16()), false) {
			t.Errorf("%v: mapped and plain differ", a)
		}
	})
}

// plainRange says DeniedRange once more, list by list and without an index.
func plainRange(a netip.Addr, private bool) string {
	a = a.WithZone("").Unmap()
	lists := [][]block{neverDialled}
	if !private {
		lists = append(lists, privateBlocks)
	}
	in := func(a netip.Addr) string {
		for _, list := range lists {
			for _, b := range list {
				if b.prefix.Contains(a) {
					return b.name
				}
			}
		}
		return ""
	}
	if name := in(a); name != "" {
		return name
	}
	for _, v4 := range plainEmbedded(a) {
		if name := in(v4); name != "" {
			return name + ", embedded"
		}
	}
	return ""
}

func plainEmbedded(a netip.Addr) []netip.Addr {
	within := func(list ...string) bool {
		for _, s := range list {
			if netip.MustParsePrefix(s).Contains(a) {
				return true
			}
		}
		return false
	}
	b := a.As16()
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
	switch {
	case !a.Is6(), a == netip.IPv6Loopback():
		return nil
	case within("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"):
		return []netip.Addr{at(12)}
	case within("2002::/16"):
		return []netip.Addr{at(2)}
	case within("2001::/32"):
		return []netip.Addr{at(4), netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})}
	case b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe:
		return []netip.Addr{at(12)}
	}
	return nil
}

// TestDeniedRangeByOctet holds the index against the lists: the ends of every
// block and their neighbours, each octet, and all of it in every embedding.
func TestDeniedRangeByOctet(t *testing.T) {
	var plain []netip.Addr
	for octet := range 256 {
		plain = append(plain, netip.AddrFrom4([4]byte{byte(octet), 1, 2, 3}), netip.AddrFrom16([16]byte{byte(octet), 1, 15: 1}))
	}
	for _, b := range slices.Concat(neverDialled, privateBlocks) {
		first := b.prefix.Addr()
		end := first.AsSlice()
		for bit := b.prefix.Bits(); bit < first.BitLen(); bit++ {
			end[bit/8] |= 0x80 >> (bit % 8)
		}
		last, _ := netip.AddrFromSlice(end)
		plain = append(plain, first, first.Prev(), first.Next(), last, last.Prev(), last.Next())
	}
	judged := map[string]int{}
	for _, p := range plain {
		for _, a := range append(embeddings(p), p) {
			for _, private := range []bool{false, true} {
				want := plainRange(a, private)
				if !a.IsValid() {
					want = "invalid"
				}
				if got := DeniedRange(a, private); got != want {
					t.Errorf("%v, private %v: %q, want %q", a, private, got, want)
				}
				judged[want]++
			}
		}
	}
	if names := 20; len(judged) < names {
		t.Errorf("the test saw %d kinds: %v", len(judged), judged)
	}
}

// embeddings are the IPv6 addresses that stand for an IPv4 one.
func embeddings(a netip.Addr) (list []netip.Addr) {
	if !a.Is4() {
		return nil
	}
	b := a.As4()
	for _, prefix := range []string{"::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::", "64:ff9b:1:2:3::", "64:ff9b:2::", "2001::", "2001:db8::5efe:0:0", "2001:db8::200:5efe:0:0", "2001:db8::100:5efe:0:0"} {
		e := netip.MustParseAddr(prefix).As16()
		copy(e[12:], b[:])
		list = append(list, netip.AddrFrom16(e))
	}
	sixToFour, teredo, client := [16]byte{0x20, 0x02}, [16]byte{0x20, 0x01}, [16]byte{0x20, 0x01, 4: 8, 5: 8, 6: 8, 7: 8}
	copy(sixToFour[2:], b[:])
	copy(teredo[4:], b[:])
	for i, c := range b {
		client[12+i] = ^c
	}
	return append(list, netip.AddrFrom16(sixToFour), netip.AddrFrom16(teredo), netip.AddrFrom16(client))
}

func BenchmarkDeniedRange(b *testing.B) {
	for _, s := range []string{"203.0.113.10", "2001:db8::10", "10.0.0.1", "64:ff9b::808:808"} {
		a := netip.MustParseAddr(s)
		b.Run(s, func(b *testing.B) {
			for b.Loop() {
				DeniedRange(a, false)
			}
		})
	}
}
