package proxy

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/clienthello"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/process"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// BenchmarkRecords is what the trail costs for one request with a credential:
// the intent and the result. us/request is the CPU time of the whole process,
// with everything that the trail does later: sync, seal, pack.
func BenchmarkRecords(b *testing.B) {
	b.Run("buffered", func(b *testing.B) { benchmarkRecords(b, audit.Options{}, 1000) })
	b.Run("shortConnections", func(b *testing.B) { benchmarkRecords(b, audit.Options{}, 1) })
	b.Run("synced", func(b *testing.B) { benchmarkRecords(b, audit.Options{Synced: true}, 1000) })
}

func benchmarkRecords(b *testing.B, o audit.Options, perConnection int) {
	log, err := audit.Open(b.TempDir(), o)
	if err != nil {
		b.Fatal(err)
	}
	p := &Proxy{o: Options{Records: log, OnDefect: func(err error) { b.Error(err) }}}
	c, up := benchConn(p), benchUpstream(b)
	before, n := cpuTime(b), 0
	b.ReportAllocs()
	for b.Loop() {
		if n++; n%perConnection == 0 {
			c = benchConn(p)
			c.flow.Cookie = uint64(n)
		}
		q := benchRequest(c, up)
		if f := q.intent(q.began); f != nil {
			b.Fatal(f)
		}
		q.record(nil)
	}
	written := log.Stats().Bytes
	if err := log.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/1e3/float64(n), "cpu-us/request")
	b.ReportMetric(float64(written)/float64(n), "bytes/request")
}

func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var benchProcess = &process.Identity{
	PID: 4711, Start: time.Date(2026, 3, 1, 12, 0, 0, 120e6, time.UTC), Exe: "/opt/billing/bin/transfer",
	ExeSHA256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
	Argv:      []string{"/opt/billing/bin/transfer", "--once", "https://api.partner.example/api/v1/balance"},
	UID:       1000, User: "billing", Cgroup: "/system.slice/billing.service", Unit: "billing.service",
	Parents: []process.Parent{{PID: 900, Exe: "/usr/bin/bash"}, {PID: 1, Exe: "/usr/lib/systemd/systemd"}},
}

func benchConn(p *Proxy) *conn {
	return &conn{
		p: p, snap: new(Snapshot), process: benchProcess, proto: protoTLS,
		flow:  flow.Flow{At: time.Date(2026, 3, 1, 12, 4, 0, 0, time.UTC), Original: netip.MustParseAddrPort("203.0.113.10:443")},
		hello: clienthello.Hello{ServerName: "api.partner.example"},
	}
}

// benchUpstream is a connection of which only the facts count.
func benchUpstream(b *testing.B) inject.Conn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	pool := upstream.NewPool(upstream.Options{})
	b.Cleanup(pool.Close)
	at := netip.MustParseAddrPort(l.Addr().String())
	up, err := inject.Over(pool).Dial(b.Context(), &upstream.Target{
		Key: upstream.Key{Host: "api.partner.example", Port: at.Port(), Addr: at.Addr()}, Cleartext: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	*up.Facts() = upstream.Facts{
		Remote: netip.MustParseAddrPort("203.0.113.10:443"), EgressIP: netip.MustParseAddr("198.51.100.20"),
		TLS: 0x304, ALPN: "http/1.1", Leaf: [32]byte{1, 2, 3}, ClientCert: [32]byte{4, 5, 6},
	}
	return up
}

func benchRequest(c *conn, up inject.Conn) *request {
	return &request{
		c: c, began: time.Now(), method: "POST", path: "/api/v1/transfers", host: "api.partner.example",
		decision: policy.Decision{Name: "partner-transfers", Action: policy.Intercept}, plan: new(Plan), up: up,
		applied: inject.Applied{
			Credentials: []inject.Use{{Name: "partner-token", Version: "1a2b3c", Form: "bearer"}},
			Signature:   &inject.Signature{Scheme: "knoxcall", KeyID: "partner-hmac", Nonce: "c0ffee00c0ffee00c0ffee00c0ffee00", Timestamp: 1772366400},
		},
		status: 200, bytesIn: 1412, bytesOut: 733,
	}
}
