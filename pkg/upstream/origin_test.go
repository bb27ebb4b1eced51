package upstream

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/dns"
	"github.com/outwarden/outwarden/pkg/flow"
)

const testHost = "api.partner.test"

// ca is a certificate authority of a test.
type ca struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// recipe is a certificate to be made; the zero value is a good leaf.
type recipe struct {
	cn            string
	names         []string // nil: testHost
	addr          net.IP
	from, until   time.Duration // from now; zero: an hour ago, an hour ahead
	key           crypto.Signer // nil: a fresh P-256 key
	signature     x509.SignatureAlgorithm
	usages        []x509.ExtKeyUsage // nil: serverAuth
	isCA, noUsage bool
}

func newCA(t testing.TB, r recipe, parent *ca) *ca {
	t.Helper()
	r.isCA = true
	der, key := issue(t, r, parent)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &ca{cert, key}
}

func issue(t testing.TB, r recipe, parent *ca) ([]byte, crypto.Signer) {
	t.Helper()
	key := r.key
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	tmpl := r.template(t)
	signer, issuer := key, tmpl
	if parent != nil {
		signer, issuer = parent.key, parent.cert
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, issuer, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

func (r recipe) template(t testing.TB) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	if r.from == 0 && r.until == 0 {
		r.from, r.until = -time.Hour, time.Hour
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: r.cn}, SignatureAlgorithm: r.signature,
		NotBefore: time.Now().Add(r.from), NotAfter: time.Now().Add(r.until),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	if r.isCA {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
		return c
	}
	if c.DNSNames = r.names; r.names == nil && r.addr == nil {
		c.DNSNames = []string{testHost}
	}
	if r.addr != nil {
		c.IPAddresses = []net.IP{r.addr}
	}
	if c.ExtKeyUsage = r.usages; r.usages == nil && !r.noUsage {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	return c
}

// leaf makes a certificate signed by a, with the extra certificates in its chain.
func (a *ca) leaf(t testing.TB, r recipe, extra ...*ca) tls.Certificate {
	t.Helper()
	der, key := issue(t, r, a)
	c := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	for _, e := range extra {
		c.Certificate = append(c.Certificate, e.cert.Raw)
	}
	return c
}

func (a *ca) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// origin is a TLS server on loopback that counts what reaches its application.
type origin struct {
	addr    netip.AddrPort
	ln      net.Listener
	config  *tls.Config
	serve   func(c net.Conn) // nil: HTTP/1, "ok" for every request
	bytes   atomic.Int64     // application bytes received
	conns   atomic.Int32
	resumed atomic.Int32
	wg      sync.WaitGroup

	mu      sync.Mutex
	open    []net.Conn
	stopped bool
}

func newOrigin(t testing.TB, o *origin) *origin {
	t.Helper()
	return newOriginAt(t, o, "127.0.0.1:0")
}

func newOriginAt(t testing.TB, o *origin, address string) *origin {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	o.ln, o.addr = ln, netip.MustParseAddrPort(ln.Addr().String())
	if o.serve == nil {
		o.serve = answerHTTP
	}
	o.wg.Go(o.accept)
	t.Cleanup(o.stop)
	return o
}

func (o *origin) stop() {
	_ = o.ln.Close()
	o.mu.Lock()
	o.stopped = true
	for _, c := range o.open {
		_ = c.Close()
	}
	o.mu.Unlock()
	o.wg.Wait()
}

func (o *origin) accept() {
	for {
		c, err := o.ln.Accept()
		if err != nil {
			return
		}
		o.mu.Lock()
		o.open = append(o.open, c)
		stopped := o.stopped
		o.mu.Unlock()
		if stopped { // accepted just before
			_ = c.Close()
			return
		}
		o.conns.Add(1)
		o.wg.Go(func() { o.handle(c) })
	}
}

func (o *origin) handle(raw net.Conn) {
	defer raw.Close()
	c := raw
	if o.config != nil {
		t := tls.Server(raw, o.config)
		if t.Handshake() != nil {
			return
		}
		if t.ConnectionState().DidResume {
			o.resumed.Add(1)
		}
		c = t
	}
	o.serve(&counting{c, &o.bytes})
}

type counting struct {
	net.Conn
	n *atomic.Int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.Add(int64(n))
	return n, err
}

const okResponse = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func answerHTTP(c net.Conn) {
	r := bufio.NewReader(c)
	for {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		if _, err := io.WriteString(c, okResponse); err != nil {
			return
		}
	}
}

// exchange sends one request and reads the whole answer.
func exchange(t testing.TB, c *Conn) string {
	t.Helper()
	got, err := tryExchange(c)
	if err != nil {
		t.Fatalf("request on %v: %v", c.Facts.Remote, err)
	}
	return got
}

func tryExchange(c *Conn) (string, error) {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+testHost+"\r\n\r\n"); err != nil {
		return "", err
	}
	buf := make([]byte, 4096)
	n := 0
	for n < len(okResponse) {
		m, err := c.Read(buf[n:])
		if n += m; err != nil {
			return "", err
		}
	}
	_ = c.SetDeadline(time.Time{})
	return string(buf[:n]), nil
}

// resolver is the real one, over a hosts file of the test.
func resolver(t testing.TB, lines ...string) *dns.Resolver {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := dns.New(dns.Options{Hosts: path, Servers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// newPool makes a pool that knows testHost as 127.0.0.1.
func newPool(t testing.TB, o Options) *Pool {
	t.Helper()
	if o.Resolver == nil {
		o.Resolver = resolver(t, "127.0.0.1 "+testHost)
	}
	p := NewPool(o)
	t.Cleanup(p.Close)
	return p
}

// target reaches o as testHost, over its own roots.
func target(o *origin, roots *x509.CertPool, change ...func(*Target)) Target {
	t := Target{
		Key:     Key{Route: "route", Host: testHost, Port: o.addr.Port()},
		Profile: &Profile{Name: "profile", Version: "1", Roots: roots, AllowPrivate: true},
	}
	for _, f := range change {
		f(&t)
	}
	t.Key.Profile = t.Profile.ID()
	return t
}

func mustGet(t testing.TB, p *Pool, to Target) *Conn {
	t.Helper()
	c, err := p.Get(context.Background(), &to)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// refused checks that there is no connection, and why.
func refused(t testing.TB, p *Pool, to Target, want flow.Reason) error {
	t.Helper()
	c, err := p.Get(context.Background(), &to)
	if err == nil {
		_ = c.Close()
		t.Fatalf("connected, want %v", want)
	}
	if e, ok := errors.AsType[*Error](err); !ok || e.Reason != want || !errors.Is(err, want) {
		t.Errorf("refused with %v, want %v", err, want)
	}
	return err
}

func key(t testing.TB, c tls.Certificate) crypto.Signer {
	t.Helper()
	k, ok := c.PrivateKey.(crypto.Signer)
	if !ok {
		t.Fatalf("%T is no signer", c.PrivateKey)
	}
	return k
}

// watchedSigner notes whether the key was used.
type watchedSigner struct {
	crypto.Signer
	used *bool
}

func (s *watchedSigner) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	*s.used = true
	return s.Signer.Sign(r, digest, o)
}

// resolverOf answers every name with the same address.
type resolverOf struct{ addr netip.Addr }

func (r resolverOf) Lookup(context.Context, string) ([]netip.Addr, error) {
	return []netip.Addr{r.addr}, nil
}
