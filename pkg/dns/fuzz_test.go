package dns

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
	"github.com/outwarden/outwarden/pkg/match"
)

// FuzzReply feeds arbitrary bytes as the reply to a question: whatever is taken
// from them must belong to the question's name.
func FuzzReply(f *testing.F) {
	q := new(dns.Msg).SetQuestion("a.test.", dns.TypeA)
	q.Id = 1
	for _, records := range [][]string{
		{"a.test. 60 A 192.0.2.1"},
		{"a.test. 60 CNAME b.test.", "b.test. 60 A 192.0.2.2"},
		{"a.test. 60 CNAME a.test."},
		{"x.test. 60 A 192.0.2.3"},
	} {
		m := new(dns.Msg).SetReply(q)
		for _, s := range records {
			rr, err := dns.NewRR(s)
			if err != nil {
				f.Fatal(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		p, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		m, err := parse(q, p)
		if err != nil {
			return
		}
		c := newChain("a.test", dns.TypeA)
		done, err := c.take(m)
		if err == nil && len(c.addrs) > 0 && !done {
			t.Error("addresses, but not done")
		}
		if len(c.addrs) > len(m.Answer) || c.hops > maxChain+1 {
			t.Errorf("%d addresses after %d hops out of %d records", len(c.addrs), c.hops, len(m.Answer))
		}
	})
}

// FuzzHosts checks that what hosts(5) yields is canonical.
func FuzzHosts(f *testing.F) {
	f.Add([]byte("127.0.0.1 localhost\n::1 ip6-localhost # comment\n"))
	f.Add([]byte("192.0.2.1\tA.B.\t*.x 1.2.3.4\n\x00"))
	f.Fuzz(func(t *testing.T, p []byte) {
		for name, addrs := range parseHosts(bytes.NewReader(p)) {
			if c, err := match.CanonicalHost(name); err != nil || c != name {
				t.Errorf("%q is not canonical: %v", name, err)
			}
			for _, a := range addrs {
				if a.Is4In6() || a == (netip.Addr{}) {
					t.Errorf("%q has address %v", name, a)
				}
			}
		}
		for _, s := range parseServers(bytes.NewReader(p)) {
			if !s.IsValid() || s.Port() != 53 {
				t.Errorf("server %v", s)
			}
		}
	})
}
