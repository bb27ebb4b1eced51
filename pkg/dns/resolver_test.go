package dns

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestLookupFollowsWhatBelongsToTheName(t *testing.T) {
	tests := []struct {
		name    string
		records []string
		want    string
	}{
		{"both families", []string{"a.test. 60 A 192.0.2.1", "a.test. 60 AAAA 2001:db8::1"}, "192.0.2.1 2001:db8::1"},
		{"several", []string{"a.test. 60 A 192.0.2.1", "a.test. 60 A 192.0.2.2"}, "192.0.2.1 192.0.2.2"},
		{"case is no matter", []string{"A.TeSt. 60 A 192.0.2.1"}, "192.0.2.1"},
		{"chain", []string{"a.test. 60 CNAME b.test.", "b.test. 60 CNAME c.test.", "c.test. 60 A 192.0.2.3"}, "192.0.2.3"},
		{"chain out of order", []string{"c.test. 60 A 192.0.2.3", "b.test. 60 CNAME c.test.", "a.test. 60 CNAME b.test."}, "192.0.2.3"},
		{"address of another name", []string{"evil.test. 60 A 192.0.2.66"}, "not found"},
		{"address beside the chain", []string{"a.test. 60 CNAME b.test.", "x.test. 60 A 192.0.2.66", "b.test. 60 A 192.0.2.3"}, "192.0.2.3"},
		{"other class", []string{"a.test. 60 CH A 192.0.2.1"}, "not found"},
		{"circle", []string{"a.test. 60 CNAME b.test.", "b.test. 60 CNAME a.test."}, "circular"},
		{"itself", []string{"a.test. 60 CNAME a.test."}, "circular"},
		{"mapped address", []string{"a.test. 60 AAAA ::ffff:127.0.0.1"}, "127.0.0.1"},
		{"nothing", nil, "not found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := lookup(t, resolver(t, serve(t, zone(tt.records...))), "a.test")
			if got != tt.want && !(tt.want == "circular" && strings.Contains(got, errChain.Error())) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestChainIsAskedFurther(t *testing.T) {
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if q.Question[0].Name == "a.test." {
			zone("a.test. 60 CNAME b.elsewhere.")(w, q)
			return
		}
		zone("b.elsewhere. 60 A 192.0.2.9")(w, q)
	})
	if got := lookup(t, resolver(t, s), "a.test"); got != "192.0.2.9" {
		t.Errorf("got %q", got)
	}
}

func TestLiteralsAndNamesThatAreNone(t *testing.T) {
	s := serve(t, zone("a.test. 60 A 192.0.2.1"))
	r := resolver(t, s)
	tests := map[string]string{
		"192.0.2.7": "192.0.2.7", "2001:db8::7": "2001:db8::7", "[2001:db8::7]": "2001:db8::7",
		"::ffff:192.0.2.7": "192.0.2.7", "localhost": "127.0.0.1 ::1", "x.localhost": "127.0.0.1 ::1",
		"": "not found", "a..test": "not found", "a b": "not found", "0x7f.1": "not found", "127.1": "not found",
		"2130706433": "not found", "0177.0.0.1": "not found", "fe80::1%eth0": "not found", "a.test:443": "not found",
		strings.Repeat("a", 64) + ".test": "not found",
	}
	for host, want := range tests {
		if got := lookup(t, r, host); got != want {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
	if n := s.queries.Load(); n != 0 {
		t.Errorf("%d of them were asked of a server", n)
	}
}

func TestForgedRepliesAreWaitedPast(t *testing.T) {
	forge := []func(m *dns.Msg){
		func(m *dns.Msg) { m.Id++ },
		func(m *dns.Msg) { m.Response = false },
		func(m *dns.Msg) { m.Question[0].Name = "evil.test." },
		func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeMX },
		func(m *dns.Msg) { m.Question = nil },
		func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) },
	}
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		_, _ = w.Write([]byte("x"))
		_, _ = w.Write([]byte("not a message at all, but long enough"))
		for _, f := range forge {
			m := new(dns.Msg).SetReply(q.Copy())
			rr, _ := dns.NewRR(q.Question[0].Name + " 60 A 203.0.113.66")
			m.Answer = []dns.RR{rr}
			f(m)
			_ = w.WriteMsg(m)
		}
		zone("a.test. 60 A 192.0.2.1")(w, q)
	})
	if got := lookup(t, resolver(t, s), "a.test"); got != "192.0.2.1" {
		t.Errorf("got %q", got)
	}
}

func TestTruncatedAnswerIsAskedOverTCP(t *testing.T) {
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if w.RemoteAddr().Network() == "udp" {
			m := new(dns.Msg).SetReply(q)
			m.Truncated = true
			_ = w.WriteMsg(m)
			return
		}
		zone("a.test. 60 A 192.0.2.1")(w, q)
	})
	if got := lookup(t, resolver(t, s), "a.test"); got != "192.0.2.1" {
		t.Errorf("got %q", got)
	}
	if s.tcp.Load() == 0 {
		t.Error("nothing came over TCP")
	}
}

func TestServerWithoutEDNS(t *testing.T) {
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if q.IsEdns0() == nil {
			zone("a.test. 60 A 192.0.2.1")(w, q)
			return
		}
		_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeFormatError))
	})
	if got := lookup(t, resolver(t, s), "a.test"); got != "192.0.2.1" {
		t.Errorf("got %q", got)
	}
}

func TestNextServerIsAsked(t *testing.T) {
	broken := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeServerFailure))
	})
	silent := serve(t, func(dns.ResponseWriter, *dns.Msg) {})
	good := serve(t, zone("a.test. 60 A 192.0.2.1"))
	if got := lookup(t, resolver(t, broken, silent, good), "a.test"); got != "192.0.2.1" {
		t.Errorf("got %q", got)
	}
	if got := lookup(t, resolver(t, broken), "a.test"); got != "no answer" {
		t.Errorf("got %q from a broken server", got)
	}
}

func TestOneFamilyMayFail(t *testing.T) {
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if q.Question[0].Qtype == dns.TypeA {
			zone("a.test. 3600 A 192.0.2.1")(w, q)
		}
	})
	r := resolver(t, s)
	now := time.Now()
	r.o.Now = func() time.Time { return now }
	if got := lookup(t, r, "a.test"); got != "192.0.2.1" {
		t.Errorf("got %q", got)
	}
	now = now.Add(negativeTTL)
	if _, ok := r.cache.get("a.test", now); ok {
		t.Error("half an answer is kept as long as a whole one")
	}
}

func TestCacheKeepsTimeToLiveInBounds(t *testing.T) {
	tests := []struct {
		name, record string
		life         time.Duration
	}{
		{"zero", "a.test. 0 A 192.0.2.1", minTTL},
		{"own", "a.test. 30 A 192.0.2.1", 30 * time.Second},
		{"a week", "a.test. 604800 A 192.0.2.1", maxTTL},
		{"negative", "", negativeTTL},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var records []string
			if tt.record != "" {
				records = append(records, tt.record)
			}
			s := serve(t, zone(records...))
			r := resolver(t, s)
			now := time.Now()
			r.o.Now = func() time.Time { return now }
			first := lookup(t, r, "a.test")
			asked := s.queries.Load()
			now = now.Add(tt.life - 1)
			if got := lookup(t, r, "A.test."); got != first || s.queries.Load() != asked {
				t.Errorf("within its life: %q after %q, %d more queries", got, first, s.queries.Load()-asked)
			}
			now = now.Add(1)
			lookup(t, r, "a.test")
			if s.queries.Load() == asked {
				t.Error("still cached after its life")
			}
		})
	}
}

func TestShortestLifeOfTheChainCounts(t *testing.T) {
	r := resolver(t, serve(t, zone("a.test. 7 CNAME b.test.", "b.test. 200 A 192.0.2.1")))
	now := time.Now()
	r.o.Now = func() time.Time { return now }
	lookup(t, r, "a.test")
	if e := r.cache.m["a.test"]; e.expires.Sub(now) != 7*time.Second {
		t.Errorf("kept for %v", e.expires.Sub(now))
	}
}

func TestCacheIsBounded(t *testing.T) {
	var c cache
	now := time.Now()
	for i := range maxEntries + 100 {
		c.put(strings.Repeat("x", i%7)+string(rune('a'+i%26))+time.Duration(i).String(), answer{ttl: time.Minute}, now)
	}
	if len(c.m) != maxEntries {
		t.Errorf("%d entries, want %d", len(c.m), maxEntries)
	}
}

func TestCallersShareOneFlight(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		<-release
		zone("a.test. 60 A 192.0.2.1", "a.test. 60 AAAA 2001:db8::1")(w, q)
	})
	r := resolver(t, s)
	r.o.Timeout = 5 * time.Second
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got := lookup(t, r, "a.test"); got != "192.0.2.1 2001:db8::1" {
				t.Errorf("got %q", got)
			}
		})
	}
	for s.queries.Load() < 2 {
		time.Sleep(time.Millisecond)
	}
	close(release)
	wg.Wait()
	if n := s.queries.Load(); n != 2 {
		t.Errorf("%d queries, want one for each family", n)
	}
}

func TestCallerMayLeave(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) { <-release; zone("a.test. 60 A 192.0.2.1")(w, q) })
	defer close(release)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := resolver(t, s).Lookup(ctx, "a.test"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestHostsFileIsReadAgain(t *testing.T) {
	r := resolver(t, serve(t, zone("a.test. 60 A 192.0.2.1")))
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(r.o.Hosts, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	steps := []struct{ content, want string }{
		{"# none\n", "192.0.2.1"},
		{"192.0.2.50 A.test. other # comment\n2001:db8::50\ta.test\nrubbish a.test\n", "192.0.2.50 2001:db8::50"},
		{"192.0.2.51 a.test", "192.0.2.51"},
		{"192.0.2.53" + strings.Repeat(" other.test", 10_000) + "\n192.0.2.52 a.test", "192.0.2.52"},
		{"", "192.0.2.1"},
	}
	for _, st := range steps {
		write(st.content)
		if got := lookup(t, r, "a.test"); got != st.want {
			t.Errorf("with %.80q: got %q, want %q", st.content, got, st.want)
		}
	}
}

// TestKnows: what Lookup has found out is known for as long as that may not have
// changed, and no longer; nobody is asked for it.
func TestKnows(t *testing.T) {
	s := serve(t, zone("a.test. 60 A 192.0.2.1", "a.test. 60 AAAA 2001:db8::1"))
	r := resolver(t, s)
	now := time.Now()
	r.o.Now = func() time.Time { return now }
	one, six, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.2")
	want := func(when string, a netip.Addr, want bool) {
		t.Helper()
		if r.Knows("a.test", a) != want {
			t.Errorf("%s: %v is known: %v", when, a, !want)
		}
	}
	want("before", one, false)
	lookup(t, r, "a.test")
	want("after", one, true)
	want("after", six, true)
	want("after", other, false)
	now = now.Add(time.Second)
	want("a second later", one, false)
	lookup(t, r, "b.test") // which looks at the file
	want("once the file was looked at", one, true)
	now = now.Add(time.Minute)
	lookup(t, r, "b.test")
	want("expired", one, false)

	if err := os.WriteFile(r.o.Hosts, []byte("192.0.2.2 a.test"), 0o600); err != nil {
		t.Fatal(err)
	}
	lookup(t, r, "a.test")
	want("of the file", other, true)
	want("of the file", one, false)
	r.hosts.mu.Lock() // as while somebody reads the file
	want("at that moment", other, false)
	r.hosts.mu.Unlock()
	if !r.Knows("192.0.2.2", other) || r.Knows("192.0.2.2", one) {
		t.Error("an address is its own answer, and no other is")
	}
	if n := s.queries.Load(); n != 6 {
		t.Errorf("%d queries, want those of three lookups", n)
	}
}

// TestKnowsServers: answers of servers that may not be the host's any more are not
// known.
func TestKnowsServers(t *testing.T) {
	dir := t.TempDir()
	r, err := New(Options{Hosts: dir + "/hosts", ResolvConf: dir + "/resolv.conf"})
	if err != nil {
		t.Fatal(err)
	}
	now, a := time.Now(), netip.MustParseAddr("192.0.2.1")
	r.hosts.get(now)
	r.cache.put("a.test", answer{[]netip.Addr{a}, time.Minute}, now)
	if r.Knows("a.test", a) {
		t.Error("known, but the file of the servers was not looked at")
	}
	r.servers.get(now)
	if !r.Knows("a.test", a) {
		t.Error("not known")
	}
}

func TestServersOfResolvConf(t *testing.T) {
	tests := map[string]string{
		"nameserver 192.0.2.53\nsearch x\nnameserver 2001:db8::53\n": "192.0.2.53:53 [2001:db8::53]:53",
		"options ndots:5\n":       "127.0.0.1:53",
		"nameserver not-an-ip\n":  "127.0.0.1:53",
		"nameserver fe80::1%lo\n": "[fe80::1%lo]:53",
	}
	for content, want := range tests {
		var got []string
		for _, s := range parseServers(strings.NewReader(content)) {
			got = append(got, s.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %v, want %s", content, got, want)
		}
	}
}

func TestControlSeesEverySocket(t *testing.T) {
	s := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Truncated = w.RemoteAddr().Network() == "udp"
		_ = w.WriteMsg(m)
	})
	r := resolver(t, s)
	var seen sync.Map
	r.o.Control = func(network, address string, _ syscall.RawConn) error {
		seen.Store(network+" "+address, true)
		return nil
	}
	lookup(t, r, "a.test")
	for _, want := range []string{"udp4 " + s.addr.String(), "tcp4 " + s.addr.String()} {
		if _, ok := seen.Load(want); !ok {
			t.Errorf("no control call for %s", want)
		}
	}
	refused := errors.New("refused")
	r = resolver(t, s)
	r.o.Control = func(string, string, syscall.RawConn) error { return refused }
	if _, err := r.Lookup(context.Background(), "a.test"); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
}

func TestNewRefusesHalfServers(t *testing.T) {
	for _, s := range []netip.AddrPort{{}, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), 0)} {
		if _, err := New(Options{Servers: []netip.AddrPort{s}}); err == nil {
			t.Errorf("%v is accepted", s)
		}
	}
}
