package proxy_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/authority"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// most is how much the heap may grow by a flood of names: what the bounded
// memories of leaves, tickets and upstreams hold when they are full.
const most = 48 << 20

// TestServerNameFlood is H2 for names in ClientHellos, each of which has a leaf
// minted: memory stays bounded, and every connection has its record.
func TestServerNameFlood(t *testing.T) {
	n := times(3_000, 100_000)
	trail := &tally{}
	w := newWorld(t, patient, func(o *options) { o.Records, o.Leaves = trail, mintingFast(t) })
	w.use(policy.Intercept)
	nobody := newOrigin(t, nil, nil)
	nobody.stop() // so that no upstream is had
	hello := string(clientHello(t, name(0)))
	before := heap()
	inParallel(n, func(i int) {
		c, err := w.connect(as{cgroup: noisy, original: nobody.addr})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, strings.Replace(hello, name(0), name(i), 1))
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if flight, _ := c.Read(make([]byte, 16)); flight == 0 {
			t.Errorf("%s: no leaf", name(i))
		}
	})
	w.quiet()
	if after := heap(); after > before+most {
		t.Errorf("%d names: the heap grew from %d to %d KiB", n, before>>10, after>>10)
	} else {
		t.Logf("%d names: the heap went from %d to %d KiB", n, before>>10, after>>10)
	}
	if got := trail.of("connection", "workload_closed"); got != n {
		t.Errorf("%d records, want %d: %v", got, n, trail.n)
	}
}

// TestMintingIsShared: a workload that has leaves minted without end gets some,
// and is told no; another gets a leaf for a new name all the while.
func TestMintingIsShared(t *testing.T) {
	const n = 400
	trail := &tally{}
	w := newWorld(t, patient, func(o *options) {
		ca, err := authority.Open(t.TempDir()+"/slow", authority.Options{MintRate: 10})
		must(t, err)
		o.Records, o.Leaves = trail, ca
	})
	o := w.originFor(nil, host)
	w.use(policy.Intercept)
	inParallel(n, func(i int) {
		c, err := w.connect(as{cgroup: noisy, original: o.addr})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_ = tls.Client(c, &tls.Config{ServerName: name(i), InsecureSkipVerify: true}).Handshake()
	})
	w.quiet()
	if limited := trail.of("connection", "name_limit"); limited < n/2 || limited == n {
		t.Errorf("%d of %d limited: %v", limited, n, trail.n)
	}
	if len(w.defects.all) > 0 {
		t.Errorf("called a defect: %v", w.defects.all[0])
	}
	c, err := w.connect(as{cgroup: calm, original: o.addr})
	must(t, err)
	defer c.Close()
	must(t, tls.Client(c, &tls.Config{ServerName: "new.example.com", InsecureSkipVerify: true}).Handshake())
}

// TestHostFlood is H2 for names in requests, each of which has an upstream
// connection of its own: memory stays bounded, and the pool stays of use.
func TestHostFlood(t *testing.T) {
	n := times(5_000, 1_000_000)
	w := newWorld(t, patient, func(o *options) { o.Records = &tally{} })
	w.pool = upstream.NewPool(upstream.Options{Resolver: w.names, Limits: upstream.Limits{Idle: 256, Keys: 512}})
	t.Cleanup(w.pool.Close)
	plain := newForgetfulOrigin(t)
	w.use(policy.Intercept)
	before := heap()
	inParallel(n/100, func(batch int) {
		c, err := w.connect(as{cgroup: noisy, original: plain})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		for i := range 100 {
			_, _ = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", name(100*batch+i))
			answer := make([]byte, len(okResponse))
			if _, err := io.ReadFull(c, answer); err != nil || string(answer) != okResponse {
				t.Errorf("%s: %q, %v", name(100*batch+i), answer, err)
				return
			}
		}
	})
	w.quiet()
	if after := heap(); after > before+most {
		t.Errorf("%d hosts: the heap grew from %d to %d KiB", n, before>>10, after>>10)
	} else {
		t.Logf("%d hosts: the heap went from %d to %d KiB", n, before>>10, after>>10)
	}
	if s := w.pool.Stats(); s.Idle > 256 {
		t.Errorf("%d idle connections", s.Idle)
	}
	reuses := w.pool.Stats().Reuses
	for range 2 {
		if got := talk(t, w.dial(as{cgroup: calm, original: plain}), plainGet); got != okResponse {
			t.Errorf("answer %q", got)
		}
	}
	if s := w.pool.Stats(); s.Reuses != reuses+1 {
		t.Errorf("%d reuses behind the flood, want 1", s.Reuses-reuses)
	}
}

// patient keeps a loaded machine from being taken for a silent workload.
func patient(o *options) { o.Timeouts.Silence = time.Minute }

// name is the i-th of many names of one length.
func name(i int) string { return fmt.Sprintf("n%07d.example.com", i) }

func mintingFast(t testing.TB) *authority.Authority {
	t.Helper()
	ca, err := authority.Open(t.TempDir()+"/fast", authority.Options{MintRate: 1 << 20, Leaves: 1 << 10})
	must(t, err)
	return ca
}

// inParallel calls f for 0 to n-1, a few at a time.
func inParallel(n int, f func(int)) {
	var all sync.WaitGroup
	next := make(chan int)
	for range 16 {
		all.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
}

// clientHello is the first flight of Go's client.
func clientHello(t testing.TB, sni string) []byte {
	t.Helper()
	var s sink
	_ = tls.Client(&s, &tls.Config{ServerName: sni}).Handshake()
	if len(s.written) == 0 {
		t.Fatal("no hello")
	}
	return s.written
}

// sink is the end of a connection that only listens.
type sink struct {
	net.Conn
	written []byte
}

func (s *sink) Read([]byte) (int, error) { return 0, io.EOF }
func (s *sink) Close() error             { return nil }
func (s *sink) Write(p []byte) (int, error) {
	s.written = append(s.written, p...)
	return len(p), nil
}
