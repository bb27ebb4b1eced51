package proxy_test

import (
	"bufio"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/policy"
)

// chains is an origin whose certificate chain changes with each case. Whether a
// chain is good for a host is asked of Go's own client, and of a workload that
// goes through the interceptor.
type chains struct {
	w     *world
	o     *origin
	shown atomic.Pointer[tls.Certificate]
}

func newChains(t testing.TB) *chains {
	c := &chains{w: newWorld(t)}
	c.o = newOrigin(t, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.shown.Load(), nil }}, nil)
	c.w.use(policy.Intercept)
	return c
}

// trust makes the interceptor trust other roots.
func (c *chains) trust(roots *x509.CertPool) {
	s := c.w.snapshot(policy.Intercept)
	s.Default.Roots = roots
	c.w.proxy.SetSnapshot(s)
}

// direct is the verdict of crypto/tls with crypto/x509.
func (c *chains) direct(host string, roots *x509.CertPool) error {
	conn, err := net.Dial("tcp", c.o.addr.String())
	must(c.w.t, err)
	defer conn.Close()
	return tls.Client(conn, &tls.Config{ServerName: host, RootCAs: roots}).Handshake()
}

// through is the reason for which the workload's request was refused, "" if it
// was answered. A refused one must not have reached the origin.
func (c *chains) through(host string) string {
	t := c.w.t
	c.w.quiet()       // the record of the case before is written
	c.w.pool.Retire() // neither connection nor session of it is left
	c.w.records.forget()
	before := len(c.o.got())
	conn, err := c.w.tryTLS(as{original: c.o.addr}, host)
	must(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /ok HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	must(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	if res.StatusCode == http.StatusOK {
		return ""
	}
	reason := res.Header.Get("Outwarden-Reason")
	if r := c.w.request(); res.StatusCode != http.StatusBadGateway || r.Reason != reason || !strings.HasPrefix(reason, "upstream_") {
		t.Errorf("answer %d %q, record %+v", res.StatusCode, reason, r)
	}
	if after := len(c.o.got()); after != before {
		t.Errorf("%d bytes of a refused request reached the origin", after-before)
	}
	return reason
}

// link is one certificate of a chain that is to be made; the first is the root.
type link struct {
	key    crypto.Signer
	change func(*x509.Certificate) // of the template
	signed func([]byte) []byte     // of the finished certificate
	signer crypto.Signer           // nil: the key of the link before
}

// verdict is what a chain deserves.
type verdict int

const (
	asGo     verdict = iota // whatever crypto/x509 says
	good                    // and it says yes
	bad                     // and it says no
	stricter                // crypto/x509 says yes and we do not
)

type chainCase struct {
	name  string
	links []link
	want  verdict
	order func([][]byte) [][]byte // what is sent: the leaf, then what this makes of the intermediates
}

// usual is a chain of four that is good, with one link changed.
func usual(at int, change func(*link)) []link {
	links := make([]link, 4)
	if change != nil {
		change(&links[at])
	}
	return links
}

func template(f func(*x509.Certificate)) func(*link) { return func(l *link) { l.change = f } }

// make signs the chain and returns what is sent, and the store with the root.
func (tt *chainCase) make(t testing.TB) (*tls.Certificate, *x509.CertPool) {
	t.Helper()
	var parent *x509.Certificate
	var signer crypto.Signer
	var sent [][]byte
	roots := x509.NewCertPool()
	for i, l := range tt.links {
		c := usualTemplate(i, len(tt.links))
		if l.change != nil {
			l.change(c)
		}
		if l.key == nil {
			l.key = newKey(t)
		}
		der := sign(t, c, parent, l.key, l.signer, signer)
		cert, err := x509.ParseCertificate(der)
		if i == 0 {
			must(t, err)
			roots.AddCert(cert)
		}
		if parent = c; err == nil {
			parent = cert
		}
		if l.signed != nil {
			der = l.signed(slices.Clone(der))
		}
		sent, signer = append(sent, der), l.key
	}
	slices.Reverse(sent)
	above := sent[1 : len(sent)-1]
	if tt.order != nil {
		above = tt.order(slices.Clone(above))
	}
	return &tls.Certificate{Certificate: append(sent[:1:1], above...), PrivateKey: signer}, roots
}

func usualTemplate(i, n int) *x509.Certificate {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: fmt.Sprint("link ", i)}, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if i == n-1 {
		c.IsCA, c.KeyUsage, c.DNSNames = false, x509.KeyUsageDigitalSignature, []string{host}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	return c
}

// sign uses the stranger's key if there is one, the parent's, or its own.
func sign(t testing.TB, c, parent *x509.Certificate, key, stranger, above crypto.Signer) []byte {
	t.Helper()
	if parent == nil {
		parent, above = c, key
	}
	if stranger != nil {
		unlike := *parent // CreateCertificate compares keys where the parent has one
		unlike.PublicKey, parent, above = nil, &unlike, stranger
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), above)
	must(t, err)
	return der
}
