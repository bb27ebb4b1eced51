package vault

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// agent is a SPIFFE Workload API: it speaks gRPC as net/http does HTTP/2, and its
// messages are made by hand.
type agent struct {
	mu     sync.Mutex
	answer map[string][]byte // by method
	asked  []string          // requests, by method and message
	status string            // grpc-status; "": 0, behind an open stream
}

func newAgent(t *testing.T) (*agent, string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{answer: map[string][]byte{}}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { (&http2.Server{}).ServeConn(c, &http2.ServeConnOpts{Handler: a}) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); conns.Wait() })
	return a, socket
}

func (a *agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	a.asked = append(a.asked, r.URL.Path+" "+r.Header.Get("Workload.spiffe.io")+" "+string(body))
	message, status := a.answer[r.URL.Path], a.status
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/grpc")
	if status != "" {
		w.Header().Set("Grpc-Status", status)
		w.Header().Set("Grpc-Message", "no identity issued")
		return
	}
	_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...))
	w.(http.Flusher).Flush()
	<-r.Context().Done() // the stream stays open for rotations
}

func (a *agent) set(method string, message []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer[method] = message
}

func (a *agent) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

// message is protobuf of strings by field number, in order.
func message(values ...string) (b []byte) {
	for i, v := range values {
		b = appendField(b, uint64(i+1), v)
	}
	return b
}

// svid is an X509SVID of the id that ends then.
func svid(t *testing.T, id string, ends time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: ends}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(message(id, string(der)+string(der), string(private), string(der)))
}

const x509Method, jwtMethod = "/SpiffeWorkloadAPI/FetchX509SVID", "/SpiffeWorkloadAPI/FetchJWTSVID"

func TestX509SVID(t *testing.T) {
	a, socket := newAgent(t)
	soon := time.Now().Add(time.Hour)
	both := append(appendField(nil, 1, svid(t, "spiffe://a/one", soon)), appendField(nil, 1, svid(t, "spiffe://a/two", soon))...)
	a.set(x509Method, append(appendField(nil, 9, "unknown"), append([]byte{5 << 3, 200, 1, 6<<3 | 5, 1, 2, 3, 4}, both...)...))
	for _, id := range []string{"", "spiffe://a/one", "spiffe://a/two"} {
		value, err := (&SPIFFE{Socket: socket, Kind: X509, ID: id}).Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if pair, err := tls.X509KeyPair(value.Reveal(), value.Reveal()); err != nil || len(pair.Certificate) != 2 {
			t.Errorf("%q: %d certificates, %v", id, len(pair.Certificate), err)
		}
	}
	bundle, err := (&SPIFFE{Socket: socket, Kind: Bundle}).Fetch(t.Context())
	if err != nil || !x509.NewCertPool().AppendCertsFromPEM(bundle.Reveal()) || strings.Contains(string(bundle.Reveal()), "PRIVATE") {
		t.Errorf("bundle: %v", err)
	}
	if _, err := (&SPIFFE{Socket: socket, Kind: X509, ID: "spiffe://a/three"}).Fetch(t.Context()); !errors.Is(err, ErrNoSVID) {
		t.Errorf("an identity that we do not have: %v", err)
	}
	if asked := a.asked[0]; !strings.HasPrefix(asked, x509Method+" true \x00\x00\x00\x00\x00") {
		t.Errorf("asked %q", asked)
	}
}

func token(ends time.Time, id string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"ES256"}`)) + "." + encode(fmt.Appendf(nil, `{"sub":%q,"exp":%d}`, id, ends.Unix())) + ".c2ln"
}

func TestJWTSVID(t *testing.T) {
	a, socket := newAgent(t)
	want := token(time.Now().Add(time.Hour), "one")
	a.set(jwtMethod, appendField(nil, 1, string(message("spiffe://a/one", want))))
	s := &SPIFFE{Socket: socket, Kind: JWT, Audience: "api.partner.example", ID: "spiffe://a/one"}
	value, err := s.Fetch(t.Context())
	if err != nil || string(value.Reveal()) != want {
		t.Fatalf("%q, %v", value.Reveal(), err)
	}
	request := string(message("api.partner.example", "spiffe://a/one"))
	if got := a.asked[0]; !strings.HasSuffix(got, request) {
		t.Errorf("asked %q", got)
	}
}

// TestSVIDRotates: what was given is used until it is time to look again, and never
// when it has ended.
func TestSVIDRotates(t *testing.T) {
	a, socket := newAgent(t)
	give := func(left time.Duration, id string) string {
		tok := token(time.Now().Add(left), id)
		a.set(jwtMethod, appendField(nil, 1, string(message("spiffe://a/one", tok))))
		return tok
	}
	first := give(time.Hour, "1")
	s := &SPIFFE{Socket: socket, Kind: JWT}
	v := New(map[string]Source{"jwt": s})
	got, version := get(t, v, "jwt")
	second := give(time.Hour, "2")
	if again, same := get(t, v, "jwt"); got != first || again != first || same != version || a.count() != 1 {
		t.Errorf("%q, then %q; asked %d times", got, again, a.count())
	}
	if left := time.Until(s.until); left > recheck || left < recheck/2 {
		t.Errorf("asked again in %v", left)
	}
	s.until = time.Now() // as if that had passed
	if got, other := get(t, v, "jwt"); got != second || other == version {
		t.Errorf("after the rotation %q, version %s", got, other)
	}
	give(-time.Minute, "3")
	s.until = time.Now()
	if _, _, err := v.Get(t.Context(), "jwt"); err == nil || !strings.Contains(err.Error(), "ended at") {
		t.Errorf("one that has ended: %v", err)
	}
	give(30*time.Second, "4")
	if _, err := s.Fetch(t.Context()); err != nil || time.Until(s.until) > 10*time.Second {
		t.Errorf("a short one: %v, asked again in %v", err, time.Until(s.until))
	}
}

func TestAgentsThatMisbehave(t *testing.T) {
	a, socket := newAgent(t)
	for name, answer := range map[string][]byte{
		"nothing": nil, "no protobuf": []byte("\xff\xff\xff"), "cut": {1<<3 | 2, 200}, "group": {1<<3 | 3},
		"no certificate": appendField(nil, 1, string(message("spiffe://a/one", "x", "y", "z"))), "empty": appendField(nil, 2, "x"),
	} {
		a.set(x509Method, answer)
		for _, kind := range []SVID{X509, Bundle} {
			if v, err := (&SPIFFE{Socket: socket, Kind: kind}).Fetch(t.Context()); err == nil || !v.IsZero() {
				t.Errorf("%s, %s: taken", name, kind)
			}
		}
	}
	for _, bad := range []string{"", "a.b", "a.b.c", "a." + base64.RawURLEncoding.EncodeToString([]byte("{}")) + ".c"} {
		a.set(jwtMethod, appendField(nil, 1, string(message("spiffe://a/one", bad))))
		if _, err := (&SPIFFE{Socket: socket, Kind: JWT}).Fetch(t.Context()); !errors.Is(err, errProto) {
			t.Errorf("token %q: %v", bad, err)
		}
	}
	a.status = "7"
	if _, err := (&SPIFFE{Socket: socket, Kind: X509}).Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "gRPC status 7: no identity") || strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("refused: %v", err)
	}
	if _, err := (&SPIFFE{Socket: socket + "x", Kind: X509}).Fetch(t.Context()); err == nil {
		t.Error("no agent")
	}
}
