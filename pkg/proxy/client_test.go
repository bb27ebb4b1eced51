package proxy_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"
)

func (w *world) roots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(w.ca.Root())
	return roots
}

func portOf(o *origin) string { return strconv.Itoa(int(o.addr.Port())) }

// rawHTTP1 is a round tripper over one HTTP/1 connection.
type rawHTTP1 struct {
	c net.Conn
	r *bufio.Reader
}

func oneConn(_ testing.TB, c net.Conn) *rawHTTP1 { return &rawHTTP1{c, bufio.NewReader(c)} }

// RoundTrip writes the request and reads the final response.
func (h *rawHTTP1) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Write(h.c); err != nil {
		return nil, err
	}
	for {
		res, err := http.ReadResponse(h.r, r)
		if err != nil || res.StatusCode >= 200 {
			return res, err
		}
	}
}

// newHTTPOrigin is Go's server, over TLS, with HTTP/2.
func newHTTPOrigin(t testing.TB, leaf tls.Certificate, h http.Handler) *origin {
	t.Helper()
	return newTLSOrigin(t, &tls.Config{Certificates: []tls.Certificate{leaf}}, h)
}

// newTLSOrigin is newHTTPOrigin with the settings of its TLS.
func newTLSOrigin(t testing.TB, config *tls.Config, h http.Handler) *origin {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = config
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return &origin{addr: netip.MustParseAddrPort(s.Listener.Addr().String())}
}
