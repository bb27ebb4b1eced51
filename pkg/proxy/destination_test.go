package proxy_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"testing"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/match"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/proxy"
)

// Where host is, and where a workload goes that only says so.
const home, away = "127.0.0.1", "127.0.0.2"

// pair is two servers of one port, of which either can be host by its certificate
// as far as a workload cares that lies.
type pair struct {
	home, away *origin
	before     int // connections that away has had
}

// newPair starts them; some port of the one is free at the other's address, too.
func newPair(t *testing.T, config *tls.Config, serve func(net.Conn)) *pair {
	t.Helper()
	for range 20 {
		o := newOrigin(t, config, serve)
		ln, err := net.Listen("tcp", away+":"+portOf(o))
		if err != nil {
			continue
		}
		must(t, ln.Close())
		return &pair{home: o, away: newOriginAt(t, ln.Addr().String(), config, serve)}
	}
	t.Fatal("no port is free at both addresses")
	return nil
}

// got is which of the two was reached.
func (p *pair) got() string {
	switch g, e := p.home.accepted(), p.away.accepted()-p.before; {
	case g > 0 && e > 0:
		return "both"
	case g > 0:
		return home
	case e > 0:
		return away
	}
	return ""
}

// passing is a route that passes some hosts.
func passing(t *testing.T, change func(*rule), patterns ...string) rule {
	t.Helper()
	r := rule{policy.Route{Name: "passing", Action: policy.Passthrough, To: policy.To{Hosts: hosts(t, patterns...)}}, proxy.Plan{}}
	if change != nil {
		change(&r)
	}
	return r
}

// told is what a record says of where a connection went.
type told struct{ decision, reason, upstream string }

func toldBy(r *audit.Record) told {
	said := told{r.Decision, r.Reason, ""}
	if r.Upstream != nil {
		said.upstream = r.Upstream.IP
	}
	return said
}

// elsewhere are the ways to say host and connect to away, and what becomes of that.
var elsewhere = map[string]struct {
	answers []string // to host
	hosts   []string // of the route; none: every
	change  func(*rule)
	before  []rule
	who     as
	want    told
}{
	"a lie":                      {answers: []string{home}, want: told{"passthrough", "address_replaced", home}},
	"a lie below a suffix":       {answers: []string{home}, hosts: []string{"*.example.com"}, want: told{"passthrough", "address_replaced", home}},
	"a lie to a route of others": {answers: []string{home}, hosts: []string{host, "192.0.2.0/24", "198.51.100.7"}, want: told{"passthrough", "address_replaced", home}},
	"a lie, reported":            {answers: []string{home}, change: reporting, want: told{"passthrough", "address_replaced", home}},
	"no such name":               {want: told{"deny", "resolve_failed", ""}},
	"no such name, reported":     {change: reporting, want: told{"passthrough", "resolve_failed", away}},
	"metadata":                   {answers: []string{imds}, want: told{"deny", "address_denied", ""}},
	"metadata beside it":         {answers: []string{imds, home, "fe80::1"}, want: told{"passthrough", "address_replaced", home}},
	"the host's own":             {answers: []string{home}, who: as{away: true}, want: told{"deny", "address_denied", ""}},
	"a guest, the host's own":    {answers: []string{home}, who: as{guest: true}, want: told{"deny", "address_denied", ""}},
	"no way there":               {answers: []string{"203.0.113.7"}, who: as{away: true}, want: told{"deny", "network_unreachable", ""}},
	"denied where it leads":      {answers: []string{home}, before: denying(home), want: told{"deny", "route_denies", ""}},
	"denied in part":             {answers: []string{home, "127.0.0.3"}, before: denying("127.0.0.3"), want: told{"passthrough", "address_replaced", home}},
	"the other family":           {answers: []string{"::2", home}, want: told{"passthrough", "address_replaced", home}},
	"no lie":                     {answers: []string{away}, want: told{"passthrough", "", away}},
	"one of several":             {answers: []string{home, "::1", away}, want: told{"passthrough", "", away}},
	"a route for every host":     {hosts: []string{"*"}, want: told{"passthrough", "", away}},
	"a route for the address":    {hosts: []string{host, away}, want: told{"passthrough", "", away}},
	"a route for the network":    {hosts: []string{host, "127.0.0.0/24"}, want: told{"passthrough", "", away}},
	"observed":                   {answers: []string{home}, change: observing, want: told{"passthrough", "", away}},
}

// denying is a route before the others that denies an address.
func denying(address string) []rule {
	h, err := match.ParseHost(address)
	if err != nil {
		panic(err)
	}
	return []rule{{route: policy.Route{Name: "denying", Action: policy.Deny, To: policy.To{Hosts: []match.Host{h}}}}}
}

func reporting(r *rule) { r.route.Mode = policy.Report }
func observing(r *rule) { r.route.Mode = policy.Observe }

// TestNameLeads: what a workload says of a name does not take it elsewhere, neither
// where the connection is looked at in its turn, nor where the relay waits for what it
// says, as the process has spoken to that address before. TLS and plain HTTP alike.
func TestNameLeads(t *testing.T) {
	for name, c := range elsewhere {
		t.Run(name, func(t *testing.T) {
			if c.hosts == nil {
				c.hosts = []string{host}
			}
			rules := append(c.before, passing(t, c.change, c.hosts...))
			for way, lie := range map[string]func(*testing.T, *world, []rule, []string, as) (string, told){
				"TLS": lieByTLS, "awaited": lieAwaited, "HTTP/1": lieByHTTP1, "HTTP/2": lieByHTTP2,
			} {
				a := &asked{}
				w := newWorld(t, func(o *options) { o.Processes = a })
				reached, said := lie(t, w, rules, c.answers, c.who)
				want := c.want
				if httpWay := way[0] == 'H'; httpWay {
					want = asRequest(want)
				}
				if said != want {
					t.Errorf("%s: the record says %+v, want %+v", way, said, want)
				}
				if here := !c.who.away && !c.who.guest; way == "awaited" && (a.known.Load() > 0) != here {
					t.Errorf("left to the relay: %v", !here)
				}
				if reached != want.upstream {
					t.Errorf("%s: %q was reached, want %q", way, reached, want.upstream)
				}
			}
		})
	}
}

// asRequest is what a request's record says: one for which nothing could be found
// was let through, and has failed.
func asRequest(w told) told {
	if w.reason == "resolve_failed" && w.decision == "deny" {
		w.decision = "passthrough"
	}
	return w
}

// resolves says where host is.
func (w *world) resolves(answers []string) {
	for _, a := range answers {
		w.names[host] = append(w.names[host], netip.MustParseAddr(a))
	}
}

// insecure is a workload that does not care who answers.
func insecure(c net.Conn, name string) net.Conn {
	return tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: true}) //nolint:gosec // it lies
}

func lieByTLS(t *testing.T, w *world, rules []rule, answers []string, who as) (string, told) {
	t.Helper()
	p := newPair(t, serving(w.partner.leaf(t, []string{host})), nil)
	w.resolves(answers)
	w.use(policy.Deny, rules...)
	return p.lie(t, w, who)
}

// lie says host on its way to away.
func (p *pair) lie(t *testing.T, w *world, who as) (string, told) {
	t.Helper()
	who.original = p.away.addr
	talk(t, insecure(w.dial(who), host), plainGet)
	w.quiet()
	r := w.connection()
	if r.SNI != host || r.Original.IP != away {
		t.Errorf("record %+v", r)
	}
	return p.got(), toldBy(&r)
}

// lieAwaited lies where the same process has gone before by a name that is passed
// wherever it leads, so that the relay waits for what it says.
func lieAwaited(t *testing.T, w *world, rules []rule, answers []string, who as) (string, told) {
	t.Helper()
	p := newPair(t, serving(w.partner.leaf(t, []string{host})), nil)
	w.resolves(answers)
	w.use(policy.Passthrough, rules...)
	for range often {
		who.original = p.away.addr
		talk(t, insecure(w.dial(who), plainHost), plainGet)
		w.quiet()
	}
	w.records.forget()
	p.before = p.away.accepted()
	return p.lie(t, w, who)
}

func lieByHTTP1(t *testing.T, w *world, rules []rule, answers []string, who as) (string, told) {
	t.Helper()
	p := newPair(t, nil, nil)
	w.resolves(answers)
	w.use(policy.Deny, rules...)
	who.original = p.away.addr
	talk(t, w.dial(who), "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
	r := w.request()
	return p.got(), toldBy(&r)
}

func lieByHTTP2(t *testing.T, w *world, rules []rule, answers []string, who as) (string, told) {
	t.Helper()
	p := newPair(t, nil, func(c net.Conn) {
		(&http2.Server{}).ServeConn(c, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(rw, "ok")
		})})
	})
	w.resolves(answers)
	w.use(policy.Deny, rules...)
	who.original = p.away.addr
	cc, err := (&http2.Transport{AllowHTTP: true}).NewClientConn(w.dial(who))
	must(t, err)
	var all [2]told
	for i := range all { // the second one finds a connection
		res, err := cc.RoundTrip(mustRequest(t, "GET", "http://"+host+"/", nil))
		must(t, err)
		_, _ = io.Copy(io.Discard, res.Body)
		all[i] = toldBy(&w.awaitKind("request", i+1)[i])
	}
	must(t, cc.Close())
	if all[0] != all[1] {
		t.Errorf("first %+v, then %+v", all[0], all[1])
	}
	return p.got(), all[0]
}

// TestAddressAsName: a name that is an address leads there and nowhere else.
func TestAddressAsName(t *testing.T) {
	w := newWorld(t)
	w.names[home] = []netip.Addr{netip.MustParseAddr(home)}
	p := newPair(t, nil, nil)
	w.use(policy.Deny, passing(t, nil, "127.0.0.1/32"))
	c := w.dial(as{original: p.away.addr})
	talk(t, c, "GET / HTTP/1.1\r\nHost: "+home+"\r\nConnection: close\r\n\r\n")
	if r := w.request(); toldBy(&r) != (told{"passthrough", "address_replaced", home}) || p.got() != home {
		t.Errorf("%q was reached: %+v", p.got(), r)
	}
}

// TestReplacedButDead: the record says which address did not answer.
func TestReplacedButDead(t *testing.T) {
	w := newWorld(t)
	p := newPair(t, nil, nil)
	w.resolves([]string{"127.0.0.3"})
	w.use(policy.Deny, passing(t, nil, host))
	if reached, said := p.lie(t, w, as{}); reached != "" || said != (told{"passthrough", "upstream_unreachable", "127.0.0.3"}) {
		t.Errorf("%s was reached, the record says %+v", strconv.Quote(reached), said)
	}
}

// TestDeniedAddress: a route that denies an address denies it under any name, that of
// a route behind it too.
func TestDeniedAddress(t *testing.T) {
	for way, lie := range map[string]func(*testing.T, *world, []rule, []string, as) (string, told){"TLS": lieByTLS, "HTTP/1": lieByHTTP1} {
		w := newWorld(t)
		rules := append(denying("127.0.0.2/31"), passing(t, nil, host))
		if reached, said := lie(t, w, rules, []string{home, away}, as{}); reached != "" || said != (told{"deny", "route_denies", ""}) {
			t.Errorf("%s: %q was reached, the record says %+v", way, reached, said)
		}
	}
	w := newWorld(t)
	p := newPair(t, nil, nil)
	w.use(policy.Passthrough, denying(away)...)
	if reached, said := p.lie(t, w, as{}); reached != "" || said != (told{"deny", "route_denies", ""}) {
		t.Errorf("by default: %q was reached, the record says %+v", reached, said)
	}
}
