package proxy_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/policy"
)

// TestSoak is H7: rounds of all kinds of work, good and bad, after each of which
// everything is as it was after the first ones. OUTWARDEN_SOAK says for how long,
// as in 1h, and OUTWARDEN_SOAK_REQUESTS how many are spread over that time, else
// as many as there is time for; without the first a few rounds must do.
func TestSoak(t *testing.T) {
	s := newSoak(t)
	const warmUp = 3
	s.passed(1 << 10) // the relay's loops start with the first, and stay
	base := s.settled(take())
	var end time.Time
	length, err := time.ParseDuration(os.Getenv("OUTWARDEN_SOAK"))
	rounds := times(warmUp+6, warmUp+6)
	if err == nil {
		end, rounds = time.Now().Add(length), 1<<30
	}
	started, logged := time.Now(), time.Now()
	total, _ := strconv.ParseFloat(os.Getenv("OUTWARDEN_SOAK_REQUESTS"), 64)
	for round := range rounds {
		s.round()
		if total > 0 {
			time.Sleep(time.Until(started.Add(time.Duration(float64(s.requests.Load()) / total * float64(length)))))
		}
		now := s.settled(base)
		if round < warmUp || time.Until(end) > length*9/10 {
			base = s.warmer(base, now) // what is filled once is full by then
			continue
		}
		s.compare(base, now)
		if time.Since(logged) > length/20 {
			logged = time.Now()
			t.Logf("%d requests, %+v", s.requests.Load(), now)
		}
		if t.Failed() || err == nil && time.Now().After(end) {
			break
		}
	}
	t.Logf("%d requests; after the warm-up %+v, at the end %+v", s.requests.Load(), base, take())
}

// soak is the interceptor under work, and what works on it.
type soak struct {
	*world
	client   *tls.Config
	http     netip.AddrPort // HTTP/1 and HTTP/2
	opaque   netip.AddrPort
	cut      netip.AddrPort // breaks off in the middle of its answers
	requests atomic.Int64
	grew     int // rounds in a row after which more was held
}

func newSoak(t *testing.T) *soak {
	w := newWorld(t, func(o *options) { o.Records = &tally{} })
	w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	leaf := w.partner.leaf(t, []string{host})
	s := &soak{world: w}
	s.client = &tls.Config{ServerName: host, RootCAs: w.roots(), ClientSessionCache: tls.NewLRUClientSessionCache(16)}
	s.http = newHTTPOrigin(t, leaf, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // all of it: Go's server reads no more once it writes
		_, _ = rw.Write(body)
	})).addr
	s.opaque = forgetful(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
	s.cut = forgetful(t, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf") })
	w.use(policy.Passthrough, w.partnerRoute(func(r *rule) { r.route.To.Ports = []uint16{s.http.Port()} }))
	return s
}

// round does some of everything, several at once.
func (s *soak) round() {
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { s.keepAlive("http/1.1", 100) })
		all.Go(func() { s.keepAlive("h2", 100) })
		all.Go(func() { s.reconnect(10) })
		all.Go(func() { s.passed(256 << 10) })
		all.Go(s.refused)
		all.Go(s.brokenOff)
	}
	all.Wait()
}

// keepAlive makes requests one after the other on one connection.
func (s *soak) keepAlive(alpn string, n int) {
	c := s.secure(alpn)
	if c == nil {
		return
	}
	defer c.Close()
	rt := s.roundTripper(c)
	for i := range n {
		body := strings.Repeat("x", i*37%5000)
		res, err := rt.RoundTrip(mustRequest(s.t, "POST", "https://"+host+"/v1/x", strings.NewReader(body)))
		if err != nil {
			s.t.Error(err)
			return
		}
		got, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || string(got) != body || res.StatusCode != http.StatusOK {
			s.t.Errorf("%s: %d, %d bytes of %d, %v", alpn, res.StatusCode, len(got), len(body), err)
			return
		}
		s.requests.Add(1)
	}
}

// reconnect makes a connection for each request, some of them resumed.
func (s *soak) reconnect(n int) {
	for range n {
		s.keepAlive("http/1.1", 1)
	}
}

// passed sends bytes through undecrypted, and gets them back.
func (s *soak) passed(size int) {
	c, err := s.connect(as{original: s.opaque})
	if err != nil {
		s.t.Error(err)
		return
	}
	defer c.Close()
	go func() {
		_, _ = io.Copy(c, &pattern{n: size})
		_ = c.CloseWrite()
	}()
	if n, err := io.Copy(io.Discard, c); n != int64(size) || err != nil {
		s.t.Errorf("%d bytes passed, %v", n, err)
	}
	s.requests.Add(1)
}

// refused tries what must be refused.
func (s *soak) refused() {
	for _, said := range []string{halfHello, "\x16\x03\x01\x00\x05\xff\xff\xff\xff\xff", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "GET /v1/x HTTP/1.1\r\nHost: " + host + "\r\n\r\n"} {
		s.tell(as{original: s.http}, said)
	}
	s.tell(as{unknown: true}, plainGet)
	if c := s.secure("http/1.1"); c != nil {
		_, _ = io.WriteString(c, "GET /v1/x HTTP/1.1\r\nHost: evil.example\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}
	s.requests.Add(6)
}

// brokenOff leaves in the middle of a hello, a handshake, an upload and an
// answer, and has an upstream that does.
func (s *soak) brokenOff() {
	for _, config := range []*tls.Config{{ServerName: host}, {ServerName: host, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}} {
		if c, err := s.connect(as{original: s.http}); err == nil {
			_ = tls.Client(c, config).Handshake()
			_ = c.SetLinger(0)
			_ = c.Close()
		}
	}
	for _, said := range []string{"POST /v1/x HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 99\r\n\r\nhalf", plainGet} {
		if c := s.secure("http/1.1"); c != nil {
			_, _ = io.WriteString(c, said)
			_ = c.NetConn().(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
	}
	s.tell(as{original: s.cut}, "GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
	s.requests.Add(5)
}

// tell says something in clear text and takes what comes.
func (s *soak) tell(who as, said string) {
	c, err := s.connect(who)
	if err != nil {
		return // reset while it looked
	}
	defer c.Close()
	_, _ = io.WriteString(c, said)
	_ = c.CloseWrite()
	_, _ = io.Copy(io.Discard, c)
}

func (s *soak) secure(alpn string) *tls.Conn {
	raw, err := s.connect(as{original: s.http})
	if err != nil {
		s.t.Error(err)
		return nil
	}
	config := s.client.Clone()
	config.NextProtos = []string{alpn}
	c := tls.Client(raw, config)
	if err := c.Handshake(); err != nil {
		s.t.Error(err)
		_ = raw.Close()
		return nil
	}
	return c
}

// usage is what a process holds.
type usage struct {
	Goroutines, Descriptors int
	HeapKiB, ResidentKiB    int
}

func take() usage {
	u := usage{HeapKiB: int(heap() >> 10), Goroutines: working()}
	fds, _ := os.ReadDir("/proc/self/fd")
	u.Descriptors = len(fds)
	status, _ := os.ReadFile("/proc/self/status")
	if _, rest, ok := strings.Cut(string(status), "VmRSS:"); ok {
		u.ResidentKiB, _ = strconv.Atoi(strings.Fields(rest)[0])
	}
	return u
}

// settled waits until all that the round began has ended, pooled connections
// too, and returns what is held then: no more than base, where that is reached.
func (s *soak) settled(base usage) usage {
	s.quiet()
	s.pool.Retire()
	s.proxy.Shed()
	var now usage
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if now = take(); now.Goroutines <= base.Goroutines && now.Descriptors <= base.Descriptors {
			break
		}
	}
	return now
}

// compare fails where more is held than was. Memory that is held for a time, as
// timers and tickets are, goes up and down with the machine's speed by a few MiB;
// what is more than that, and stays, is growth.
func (s *soak) compare(base, now usage) {
	const slackKiB, rounds = 4 << 10, 3
	s.back(base, now)
	if grown(base.HeapKiB, now.HeapKiB) < slackKiB && grown(base.ResidentKiB, now.ResidentKiB) < slackKiB {
		s.grew = 0
		return
	}
	if s.grew++; s.grew == rounds {
		s.t.Errorf("memory grows: %s", change(base, now))
	}
}

// back fails, and says where they are, unless goroutines and descriptors came back.
func (s *soak) back(base, now usage) {
	if now.Goroutines <= base.Goroutines && now.Descriptors <= base.Descriptors {
		return
	}
	s.t.Errorf("goroutines and descriptors do not come back: %s\n%s", change(base, now), stacks())
}

// stacks are those of all goroutines, equal ones together and counted.
func stacks() string {
	var out strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&out, 1)
	return out.String()
}

// working is how many goroutines there are but for those that the interceptor
// keeps, a few at most, for connections to come.
func working() int {
	const most = 32
	n, resting := runtime.NumGoroutine(), 0
	for same := range strings.SplitSeq(stacks(), "\n\n") {
		if strings.Contains(same, "(*crew).wait+") {
			head, _, _ := strings.Cut(same, " @")
			count, _ := strconv.Atoi(head[strings.LastIndex(head, "\n")+1:]) // the title stands before the first
			resting += count
		}
	}
	return n - min(resting, most)
}

// warmer is what is held once the memories have filled. Goroutines and
// descriptors fill none.
func (s *soak) warmer(base, now usage) usage {
	s.back(base, now)
	now.Goroutines, now.Descriptors = base.Goroutines, base.Descriptors
	now.HeapKiB, now.ResidentKiB = max(base.HeapKiB, now.HeapKiB), max(base.ResidentKiB, now.ResidentKiB)
	return now
}

// grown is by how much now is more than 5 % above base.
func grown(base, now int) int { return now - base - base/20 }

func change(base, now usage) string { return fmt.Sprintf("%+v, then %+v", base, now) }
