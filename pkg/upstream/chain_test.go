package upstream

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/flow"
)

// stuffing makes certificates that say nothing and are of no use, no two alike.
func stuffing(t *testing.T) func(n, size int) [][]byte {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return func(n, size int) (list [][]byte) {
		for range n {
			template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), SubjectKeyId: make([]byte, size)}
			der, err := x509.CreateCertificate(rand.Reader, template, template, pub, key)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = rand.Read(der[len(der)-16:])
			list = append(list, der)
		}
		return list
	}
}

// TestStuffedChain: an upstream does not fill our memory with what it sends as its
// chain, neither while a connection rests nor in the session that is left of it.
func TestStuffedChain(t *testing.T) {
	root, stuff := newCA(t, recipe{cn: "root"}, nil), stuffing(t)
	for _, c := range []struct {
		name    string
		n, size int
		want    flow.Reason
		kept    bool
	}{
		{"usual", 3, 1 << 10, flow.ReasonNone, true},
		{"as many as there may be", maxChain - 1, 0, flow.ReasonNone, false},
		{"one more", maxChain, 0, flow.ReasonUpstreamUntrusted, false},
		{"all that fit", 1000, 0, flow.ReasonUpstreamUntrusted, false},
		{"as large as it may be", 3, 33 << 10, flow.ReasonNone, false},
		{"larger", 3, 34 << 10, flow.ReasonUpstreamUntrusted, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			leaf := root.leaf(t, recipe{})
			leaf.Certificate = append(leaf.Certificate, stuff(c.n, c.size)...)
			for _, alpn := range []string{"http/1.1", "h2"} {
				stuffed(t, root, leaf, alpn, c.want, c.kept)
			}
		})
	}
}

func stuffed(t *testing.T, root *ca, leaf tls.Certificate, alpn string, want flow.Reason, kept bool) {
	t.Helper()
	serve := answerHTTP
	if alpn == "h2" {
		serve = func(c net.Conn) {
			(&http2.Server{}).ServeConn(c, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
		}
	}
	o := newOrigin(t, &origin{config: &tls.Config{Certificates: []tls.Certificate{leaf}, NextProtos: []string{alpn}}, serve: serve})
	p := newPool(t, Options{})
	to := target(o, root.pool(), func(t *Target) { t.ALPN = []string{alpn} })
	if want != flow.ReasonNone {
		refused(t, p, to, want)
		return
	}
	up := mustGet(t, p, to)
	if alpn == "h2" {
		_, err := get(up)
		if err != nil {
			t.Error(err)
		}
	} else {
		exchange(t, up)
		if _, got := p.sessions.get(sessionKey{to.Key, 0}); got != kept {
			t.Errorf("session kept: %v", got)
		}
	}
	p.Put(up)
	if got := p.Stats().Idle == 1; got != kept {
		t.Errorf("%s: connection kept: %v", alpn, got)
	}
}

// TestLargeTicket: nor with its tickets.
func TestLargeTicket(t *testing.T) {
	root := newCA(t, recipe{cn: "root"}, nil)
	for size, want := range map[int]bool{1 << 10: true, 40 << 10: false} {
		cfg := &tls.Config{Certificates: []tls.Certificate{root.leaf(t, recipe{})}}
		cfg.WrapSession = func(cs tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
			state.Extra = append(state.Extra, make([]byte, size))
			return cfg.EncryptTicket(cs, state)
		}
		o := newOrigin(t, &origin{config: cfg, serve: answerHTTP})
		p := newPool(t, Options{})
		to := target(o, root.pool())
		up := mustGet(t, p, to)
		exchange(t, up)
		if _, kept := p.sessions.get(sessionKey{to.Key, 0}); kept != want {
			t.Errorf("%d bytes: session kept: %v", size, kept)
		}
		_ = up.Close()
	}
}
