package clienthello_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/clienthello"
)

// selfSigned is a certificate for the name and its pool.
func selfSigned(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// echConfigs is an ECHConfigList (RFC 9849 section 4) for a key nobody has.
func echConfigs(t *testing.T) []byte {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	contents := append([]byte{7, 0, 0x20}, vec(2, key.PublicKey().Bytes()...)...)
	contents = append(contents, vec(2, 0, 1, 0, 1)...)
	contents = append(contents, 32)
	contents = append(contents, vec(1, []byte("public.example")...)...)
	contents = append(contents, vec(2)...)
	return vec(2, append([]byte{0xfe, 0x0d}, vec(2, contents...)...)...)
}

// Real clients of crypto/tls: what Parse says is what crypto/tls itself reads
// from the replayed bytes, and the handshake completes behind the peek.
func TestRealClients(t *testing.T) {
	cert, pool := selfSigned(t, "api.example.com")
	sessions := tls.NewLRUClientSessionCache(1)
	for _, c := range []struct {
		name   string
		client *tls.Config
		want   func(clienthello.Hello) bool
	}{
		{"plain", &tls.Config{ServerName: "api.example.com"}, func(h clienthello.Hello) bool {
			return h.ServerName == "api.example.com" && !h.ECH && !h.Resumes && slices.Contains(h.Shares, uint16(tls.X25519))
		}},
		{"alpn", &tls.Config{ServerName: "api.example.com", NextProtos: []string{"h2", "http/1.1"}}, func(h clienthello.Hello) bool { return len(h.ALPN) == 2 }},
		{"post-quantum", &tls.Config{ServerName: "api.example.com", CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}}, func(h clienthello.Hello) bool { return slices.Equal(h.Shares, []uint16{uint16(tls.X25519MLKEM768)}) }},
		{"TLS 1.2", &tls.Config{ServerName: "api.example.com", MaxVersion: tls.VersionTLS12}, func(h clienthello.Hello) bool { return h.Versions[0] == tls.VersionTLS12 }},
		{"no name", &tls.Config{ServerName: "192.0.2.1"}, func(h clienthello.Hello) bool { return h.ServerName == "" }},
		{"first of two", &tls.Config{ServerName: "api.example.com", ClientSessionCache: sessions}, func(h clienthello.Hello) bool { return !h.Resumes }},
		{"second of two", &tls.Config{ServerName: "api.example.com", ClientSessionCache: sessions}, func(h clienthello.Hello) bool { return h.Resumes }},
		{"ech", &tls.Config{ServerName: "secret.example", EncryptedClientHelloConfigList: echConfigs(t)}, func(h clienthello.Hello) bool { return h.ECH && h.ServerName == "public.example" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.client.RootCAs = pool
			h, theirs, err := handshake(t, c.client, cert)
			if refused := c.client.EncryptedClientHelloConfigList != nil; refused != (err != nil) {
				t.Fatal(err)
			}
			if !c.want(h) {
				t.Errorf("%+v", h)
			}
			if h.ServerName != theirs.ServerName || !reflect.DeepEqual(h.ALPN, theirs.SupportedProtos) || !reflect.DeepEqual(h.Versions, theirs.SupportedVersions) {
				t.Errorf("we read %+v, crypto/tls %q %q %x", h, theirs.ServerName, theirs.SupportedProtos, theirs.SupportedVersions)
			}
		})
	}
}

// handshake runs a client against a peeking server. The client's bytes come one
// at a time.
func handshake(t *testing.T, config *tls.Config, cert tls.Certificate) (h clienthello.Hello, theirs *tls.ClientHelloInfo, err error) {
	t.Helper()
	clientSide, serverSide := pair(t)
	done := make(chan error, 1)
	go func() {
		client := tls.Client(trickle{clientSide}, config)
		_, err := io.Copy(io.Discard, client)
		_ = client.Close() // the server may have left first
		done <- err
	}()
	peek := clienthello.NewConn(serverSide)
	for h, err = clienthello.Parse(nil); errors.Is(err, clienthello.ErrIncomplete); {
		b, fillErr := peek.Fill()
		if fillErr != nil {
			t.Fatal(fillErr)
		}
		h, err = clienthello.Parse(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	server := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}}
	server.SetSessionTicketKeys([][32]byte{{1}}) // the same for all, so that sessions resume
	server.GetConfigForClient = func(info *tls.ClientHelloInfo) (*tls.Config, error) { theirs = info; return nil, nil }
	s := tls.Server(peek, server)
	err = s.Handshake()
	if peek.Peeked() != nil {
		t.Error("the peek buffer outlives the handshake")
	}
	_, _ = s.Write([]byte("ticket"))
	err = errors.Join(err, s.Close())
	return h, theirs, errors.Join(err, <-done)
}

// trickle writes one byte at a time.
type trickle struct{ net.Conn }

func (c trickle) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// pair is two ends of a TCP connection over loopback.
func pair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = d.Close(), s.Close() })
	return d.(*net.TCPConn), s.(*net.TCPConn)
}

// tape plays bytes to a TLS server and swallows what it answers.
type tape struct {
	net.Conn
	r *bytes.Reader
}

func (c tape) Read(p []byte) (int, error)       { return c.r.Read(p) }
func (c tape) Write(p []byte) (int, error)      { return len(p), nil }
func (c tape) Close() error                     { return nil }
func (c tape) SetWriteDeadline(time.Time) error { return nil }

// cryptoTLS is what crypto/tls reads from the bytes; nil if it refuses them.
func cryptoTLS(raw []byte) (info *tls.ClientHelloInfo) {
	stop := errors.New("seen enough")
	s := tls.Server(tape{r: bytes.NewReader(raw)}, &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
		info = i
		return nil, stop
	}})
	_ = s.Handshake()
	return info
}

// FuzzHello: a cut hello is incomplete or refused for the same reason, records
// of any size say the same, and crypto/tls agrees wherever it reads one.
func FuzzHello(f *testing.F) {
	f.Add(records(hello(sni("a.example"), ext(16, vec(2, vec(1, 'h', '2')...)...), ext(43, vec(1, 3, 4)...)), 1<<14), uint16(50), uint16(7))
	f.Add(records(hello(ext(0x0a0a), sni("*.example"), ext(0xfe0d, 1)), 9), uint16(20), uint16(1))
	f.Add(records(hello(ext(21, make([]byte, 1000)...), sni("a")), 500), uint16(600), uint16(3))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint16(1), uint16(1))
	f.Fuzz(func(t *testing.T, raw []byte, cut, size uint16) {
		whole, err := clienthello.Parse(raw)
		part, partErr := clienthello.Parse(raw[:int(cut)%(len(raw)+1)])
		if !errors.Is(partErr, clienthello.ErrIncomplete) && (!errors.Is(err, partErr) || !reflect.DeepEqual(whole, part)) {
			t.Errorf("whole: %+v %v, cut: %+v %v", whole, err, part, partErr)
		}
		if err != nil {
			return
		}
		msg := payload(raw)
		if again, err := clienthello.Parse(records(msg, int(size)%len(msg)+1)); err == nil && !reflect.DeepEqual(whole, again) {
			t.Errorf("in one record: %+v, in several: %+v", whole, again)
		}
		theirs := cryptoTLS(raw)
		if theirs != nil && theirs.ServerName != whole.ServerName {
			t.Errorf("crypto/tls reads %q, we read %+v", theirs.ServerName, whole)
		}
		if theirs != nil && len(whole.ALPN) > 0 && !contains(theirs.SupportedProtos, whole.ALPN) {
			t.Errorf("crypto/tls reads %q, we read %+v", theirs.SupportedProtos, whole)
		}
	})
}

func contains(all, some []string) bool {
	for _, s := range some {
		found := false
		for _, a := range all {
			found = found || a == s
		}
		if !found {
			return false
		}
	}
	return true
}

// payload puts the records of an accepted hello together.
func payload(raw []byte) (msg []byte) {
	for len(msg) < 4 || len(msg) < 4+int(msg[1])<<16+int(msg[2])<<8+int(msg[3]) {
		n := int(raw[3])<<8 | int(raw[4])
		msg = append(msg, raw[5:5+n]...)
		raw = raw[5+n:]
	}
	return msg
}
