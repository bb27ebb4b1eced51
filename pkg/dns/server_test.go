package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// server is a real name server on loopback, UDP and TCP on one port.
type server struct {
	addr    netip.AddrPort
	queries atomic.Int32
	tcp     atomic.Int32
}

func serve(t *testing.T, answer func(w dns.ResponseWriter, q *dns.Msg)) *server {
	t.Helper()
	s := new(server)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		s.queries.Add(1)
		if w.RemoteAddr().Network() == "tcp" {
			s.tcp.Add(1)
		}
		answer(w, q)
	})
	ln, pc := listen(t)
	s.addr = netip.MustParseAddrPort(ln.Addr().String())
	start(t, &dns.Server{Listener: ln, Handler: handler})
	start(t, &dns.Server{PacketConn: pc, Handler: handler})
	return s
}

// listen takes one port for TCP and UDP. Other programs take ports too, so it
// tries more than one.
func listen(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	var last error
	for range 20 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		pc, err := net.ListenPacket("udp", ln.Addr().String())
		if err == nil {
			return ln, pc
		}
		last = err
		_ = ln.Close()
	}
	t.Fatal(last)
	return nil, nil
}

func start(t *testing.T, s *dns.Server) *dns.Server {
	t.Helper()
	ready, ended := make(chan struct{}), make(chan error, 1)
	s.NotifyStartedFunc = func() { close(ready) }
	go func() { ended <- s.ActivateAndServe() }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("start name server: %v", err)
	}
	t.Cleanup(func() { _ = s.Shutdown(); <-ended })
	return s
}

// zone answers from records in presentation form, all of them in each message.
func zone(records ...string) func(dns.ResponseWriter, *dns.Msg) {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		for _, s := range records {
			rr, err := dns.NewRR(s)
			if err != nil {
				panic(err)
			}
			if k := rr.Header().Rrtype; k == q.Question[0].Qtype || k == dns.TypeCNAME {
				m.Answer = append(m.Answer, rr)
			}
		}
		_ = w.WriteMsg(m)
	}
}

func resolver(t *testing.T, servers ...*server) *Resolver {
	t.Helper()
	o := Options{Hosts: filepath.Join(t.TempDir(), "hosts"), Timeout: 300 * time.Millisecond}
	for _, s := range servers {
		o.Servers = append(o.Servers, s.addr)
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func lookup(t *testing.T, r *Resolver, host string) string {
	t.Helper()
	addrs, err := r.Lookup(context.Background(), host)
	switch {
	case errors.Is(err, ErrNotFound):
		return "not found"
	case errors.Is(err, ErrNoAnswer):
		return "no answer"
	case err != nil:
		return err.Error()
	}
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}
