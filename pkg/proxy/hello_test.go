package proxy_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/policy"
)

// TestHostileHellos is B5: a clean alert, a record, and the interceptor lives.
func TestHostileHellos(t *testing.T) {
	record := func(version byte, body string) string {
		return string([]byte{22, 3, version, byte(len(body) >> 8), byte(len(body))}) + body
	}
	long := string([]byte{1, 0xff, 0xff, 0xff}) + strings.Repeat("\x00", 1000)
	for name, c := range map[string]struct{ hello, reason string }{
		"garbage in a record": {record(1, "\xff\xff\xff\xff\xff"), "bad_hello"},
		"empty record":        {record(1, "") + record(1, "\x02\x00\x00\x00"), "bad_hello"},
		"server hello":        {record(1, "\x02\x00\x00\x04abcd"), "bad_hello"},
		"16 MiB announced":    {record(1, long), "bad_hello"},
		"too short":           {record(1, "\x01\x00\x00\x02ab"), "bad_hello"},
		"half a hello":        {record(1, "\x01\x00\x01\x00\x03\x03"), "workload_closed"},
		"half a record":       {"\x16\x03\x01\x02", "workload_closed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := w.originFor(nil, host)
			w.use(policy.Passthrough, w.partnerRoute())
			got := talk(t, w.dial(as{original: o.addr}), c.hello)
			if c.reason == "bad_hello" && (len(got) != 7 || got[:5] != "\x15\x03\x03\x00\x02") {
				t.Errorf("answer %q, want an alert", got)
			}
			if r := w.connection(); r.Reason != c.reason || r.Decision != "deny" || o.accepted() > 0 {
				t.Errorf("record %+v, %d connections", r, o.accepted())
			}
			if got := w.say(o, plainGet); got != okResponse {
				t.Errorf("the next connection got %q", got)
			}
		})
	}
}

// TestSlowHello: a hello that never ends is given up.
func TestSlowHello(t *testing.T) {
	w := newWorld(t, func(o *options) { o.Timeouts.Hello = 200 * time.Millisecond })
	o := w.originFor(nil, host)
	w.use(policy.Passthrough, w.partnerRoute())
	c := w.dial(as{original: o.addr})
	_, _ = io.WriteString(c, "\x16\x03\x01\x01\x00\x01\x00")
	if _, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("read: %v", err)
	}
	if r := w.connection(); r.Reason != "workload_timeout" {
		t.Errorf("record %+v", r)
	}
}

// TestOddServerNames: the right leaf, or a handshake that fails; never another
// leaf, and never the credential.
func TestOddServerNames(t *testing.T) {
	label := strings.Repeat("a", 63)
	for _, c := range []struct {
		sni string
		ok  bool
	}{
		{host, true}, {strings.ToUpper(host), true}, {host + ".", false}, {"xn--bcher-kva.example", true}, {"my_host.example", true},
		{label + "." + label + "." + label + ".example", true}, {"*." + host, false}, {"........", false}, {"aaaaaa..b", false}, {"-.example", false},
		{"api.example.com\x00.evil.test", false}, {"api.example.com/../x", false}, {label + "a.example", false}, {"ünicode.example", false},
		{"../../etc/passwd", false}, {"api.example.com:443", false},
	} {
		t.Run(c.sni, func(t *testing.T) {
			w := newWorld(t)
			o := w.originFor(nil, host)
			w.use(policy.Intercept, w.partnerRoute())
			var leaf []byte
			conn := tls.Client(&nameIn{Conn: w.dial(as{original: o.addr}), name: c.sni}, &tls.Config{
				ServerName: placeholder(c.sni), InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12,
			})
			_ = conn.Handshake() // the transcript differs: it fails at the end, after the certificate
			if chain := conn.ConnectionState().PeerCertificates; len(chain) > 0 {
				leaf = chain[0].Raw
				if want := strings.TrimSuffix(strings.ToLower(c.sni), "."); chain[0].VerifyHostname(want) != nil && c.ok {
					t.Errorf("leaf for %v, want %s", chain[0].DNSNames, want)
				}
				if !c.ok && len(chain[0].DNSNames) > 0 {
					t.Errorf("leaf for %v", chain[0].DNSNames)
				}
			}
			_ = conn.Close()
			w.quiet()
			if c.ok && leaf == nil {
				t.Error("no leaf")
			}
			if bytes.Contains(o.got(), []byte(canary)) {
				t.Error("the canary left")
			}
		})
	}
}

// placeholder is a name of the same length, which crypto/tls agrees to send.
func placeholder(sni string) string {
	s := strings.Repeat("q", len(sni))
	b := []byte(s)
	for i := 60; i < len(b)-1; i += 60 {
		b[i] = '.'
	}
	return string(b)
}

// nameIn puts another name of the same length into the ClientHello.
type nameIn struct {
	net.Conn
	name string
	done bool
}

func (c *nameIn) Write(p []byte) (int, error) {
	if !c.done {
		c.done = true
		return c.Conn.Write(bytes.Replace(p, []byte(placeholder(c.name)), []byte(c.name), 1))
	}
	return c.Conn.Write(p)
}

// TestHelloInPieces: byte by byte, and split over records of one byte.
func TestHelloInPieces(t *testing.T) {
	for _, split := range []bool{false, true} {
		w := newWorld(t)
		o := w.originFor(nil, host)
		w.use(policy.Passthrough, w.partnerRoute())
		c := tls.Client(&dribble{Conn: w.dial(as{original: o.addr}), records: split}, &tls.Config{
			ServerName: host, RootCAs: w.roots(), NextProtos: []string{strings.Repeat("p", 200), "http/1.1"},
		})
		if got := talk(t, c, plainGet); got != okResponse {
			t.Errorf("split %v: answer %q", split, got)
		}
	}
}

// dribble writes the first flight in single bytes, or in records of one byte.
type dribble struct {
	net.Conn
	records, done bool
}

func (c *dribble) Write(p []byte) (int, error) {
	if c.done {
		return c.Conn.Write(p)
	}
	c.done = true
	header, body := p[:5], p[5:]
	if !c.records {
		body, header = p, nil
	}
	for i := range body {
		piece := body[i : i+1]
		if c.records {
			piece = []byte{header[0], header[1], header[2], 0, 1, body[i]}
		}
		if _, err := c.Conn.Write(piece); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// TestHandshakesThatFail say whose fault it was.
func TestHandshakesThatFail(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		config       *tls.Config
	}{
		{"workload does not trust us", "workload_distrusts", &tls.Config{ServerName: host}},
		{"TLS 1.1 only", "bad_hello", &tls.Config{ServerName: host, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}},
		{"CBC only", "bad_hello", &tls.Config{ServerName: host, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			o := w.originFor(nil, host)
			w.use(policy.Passthrough, w.partnerRoute())
			if err := tls.Client(w.dial(as{original: o.addr}), c.config).Handshake(); err == nil {
				t.Error("handshake done")
			}
			if r := w.connection(); r.Reason != c.reason || len(o.got()) > 0 {
				t.Errorf("record %+v, origin %q", r, o.got())
			}
		})
	}
}
