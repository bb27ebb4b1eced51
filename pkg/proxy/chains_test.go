package proxy_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

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
