package daemon_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// recorder is an origin that takes all and remembers what it was given.
type recorder struct {
	mu   sync.Mutex
	seen []*http.Request
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, req)
	_, _ = io.WriteString(w, "recorded\n")
}

// requests returns how many came, and fails the test if one had a credential.
func (r *recorder) requests(t testing.TB) int {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, req := range r.seen {
		if req.Header.Get("Authorization") != "" || req.Header.Get("X-Signature") != "" || req.TLS != nil && len(req.TLS.PeerCertificates) > 0 {
			t.Errorf("a credential left: %s %s%s %v", req.Method, req.Host, req.URL, req.Header)
		}
	}
	return len(r.seen)
}

// origin starts a recorder under a name, at 443 with the certificate and at 80
// without.
func (w *world) origin(name, addr string, cert tls.Certificate) *recorder {
	w.t.Helper()
	w.hosts(name, addr)
	r := &recorder{}
	server := &http.Server{Handler: r, ErrorLog: log.New(io.Discard, "", 0)}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert}
	go server.Serve(tls.NewListener(w.listen(addr+":443"), config))
	go server.Serve(w.listen(addr + ":80"))
	w.t.Cleanup(func() { server.Close() })
	return r
}

func (w *world) listen(addr string) net.Listener {
	w.t.Helper()
	var l net.Listener
	var err error
	w.internet.Do(func() { l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))) })
	must(w.t, err)
	return l
}

// certify makes a server certificate of the partner's CA, or a self-signed one.
func (w *world) certify(names string, notAfter time.Time, selfSigned bool) tls.Certificate {
	w.t.Helper()
	ca, err := tls.LoadX509KeyPair(w.path("partner/ca.pem"), w.path("partner/ca-key.pem"))
	must(w.t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(w.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "origin"}, DNSNames: strings.Fields(names),
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	parent, signer := ca.Leaf, ca.PrivateKey
	if selfSigned {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	must(w.t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// last is the newest request.
func (r *recorder) last(t testing.TB) *http.Request {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.seen) == 0 {
		t.Fatal("no request came")
	}
	return r.seen[len(r.seen)-1]
}
