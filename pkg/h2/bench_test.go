package h2_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/h2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// identity makes a certificate for TLS on both legs, and who trusts it.
func identity(t testing.TB) (server, trusting *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "api.example"}, DNSNames: []string{"api.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	protos := []string{http2.NextProtoTLS}
	server = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: protos,
		MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true}
	return server, &tls.Config{RootCAs: roots, ServerName: "api.example", NextProtos: protos, DynamicRecordSizingDisabled: true}
}

// benchOrigin answers 1 KiB to every request, with our engine, so that most of
// what is measured is the relay.
func benchOrigin(b *testing.B, leaf *tls.Config) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s := h2.NewServer(tls.Server(c, leaf), h2.Options{}, func() h2.Handler { return kibibyte{} })
			wg.Go(func() { _ = s.Serve() })
		}
	})
	b.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

type kibibyte struct{}

var (
	kib     = make([]byte, 1024)
	kibHead = []hpack.HeaderField{
		{Name: ":status", Value: "200"}, {Name: "server", Value: "bench"}, {Name: "date", Value: "Mon, 23 Nov 2026 10:00:00 GMT"},
		{Name: "content-type", Value: "application/octet-stream"}, {Name: "content-length", Value: "1024"},
		{Name: "last-modified", Value: "Mon, 23 Nov 2026 09:00:00 GMT"}, {Name: "etag", Value: `"6921f0a0-400"`}, {Name: "accept-ranges", Value: "bytes"},
	}
	kibRequest = []hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "api.example"},
		{Name: ":path", Value: "/1k"}, {Name: "user-agent", Value: "bench"}, {Name: "accept", Value: "*/*"},
	}
)

func (kibibyte) Handle(s *h2.Stream, e *h2.Event) {
	if e.Kind == h2.Head {
		_ = s.WriteHead(e.Batch, kibHead, false)
		_, _ = s.Write(e.Batch, kib, true)
	}
}

// load is h2load -c8 -m32 with our engine: a stream that ends opens the next.
type load struct {
	mu   sync.Mutex
	left int
	done sync.WaitGroup
	fail chan error
}

type looper struct {
	l *load
	c *h2.Conn
}

func (l *load) next() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left--
	return l.left >= 0
}

func (o looper) start(b *h2.Batch) {
	if !o.l.next() {
		o.l.done.Done()
		return
	}
	if _, err := o.c.Open(b, o, kibRequest, true); err != nil {
		o.fail(err)
	}
}

func (o looper) fail(err error) {
	select {
	case o.l.fail <- err:
	default:
	}
	o.l.done.Done()
}

func (o looper) Handle(s *h2.Stream, e *h2.Event) {
	switch {
	case e.Kind == h2.Closed:
		o.fail(e.Err)
		return
	case e.Kind == h2.Head && e.Status != 200:
		o.fail(http.ErrNotSupported)
		return
	case e.Kind == h2.Data:
		s.Consumed(e.Batch, len(e.Data))
	}
	if e.End {
		o.start(e.Batch)
	}
}

const (
	benchConns   = 8
	benchStreams = 32
)

func runLoad(b *testing.B, addr string, roots *tls.Config) {
	l := &load{left: b.N, fail: make(chan error, 1)}
	var conns []*h2.Conn
	var wg sync.WaitGroup
	for range benchConns {
		c, err := tls.Dial("tcp", addr, roots)
		if err != nil {
			b.Fatal(err)
		}
		conn := h2.NewClient(c, h2.Options{})
		conns = append(conns, conn)
		wg.Go(func() { _ = conn.Serve() })
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu()
	for _, c := range conns {
		var batch h2.Batch
		for range benchStreams {
			l.done.Add(1)
			looper{l, c}.start(&batch)
		}
		batch.Flush()
	}
	l.done.Wait()
	b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
	b.StopTimer()
	select {
	case err := <-l.fail:
		b.Error(err)
	default:
	}
	for _, c := range conns {
		c.Close()
	}
	wg.Wait()
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRelay compares relays of 1 KiB responses over 8 connections of 32
// streams, TLS on both legs. Client and origin cost the same in each: take direct
// off the others before the ratio is formed.
func BenchmarkRelay(b *testing.B) {
	server, trusting := identity(b)
	b.Run("direct", func(b *testing.B) { runLoad(b, benchOrigin(b, server), trusting) })
	b.Run("h2", func(b *testing.B) {
		through, _ := startRelay(b, benchOrigin(b, server), server, trusting, h2.Options{})
		runLoad(b, through, trusting)
	})
	b.Run("xnet", func(b *testing.B) {
		runLoad(b, reverseProxy(b, benchOrigin(b, server), server, trusting), trusting)
	})
}

// reverseProxy is the relay that net/http makes.
func reverseProxy(b *testing.B, addr string, leaf, roots *tls.Config) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	transport := &http2.Transport{DisableCompression: true, TLSClientConfig: roots}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: addr})
	proxy.Transport = transport
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(502) }
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				t := tls.Server(c, leaf)
				if t.Handshake() == nil {
					(&http2.Server{}).ServeConn(t, &http2.ServeConnOpts{Handler: proxy})
				}
			})
		}
	})
	b.Cleanup(func() { _ = l.Close(); transport.CloseIdleConnections(); wg.Wait() })
	return l.Addr().String()
}
