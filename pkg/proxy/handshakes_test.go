package proxy_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/policy"
)

// oracle is a plain crypto/tls server with a leaf of the same authority, beside
// the interceptor.
type oracle struct {
	w     *world
	o     *origin
	plain *origin
}

func newOracle(t testing.TB) *oracle {
	w := newWorld(t)
	leaf, err := w.ca.Certificate(host)
	must(t, err)
	a := &oracle{w: w, o: w.originFor(nil, host)}
	a.plain = newOrigin(t, &tls.Config{Certificates: []tls.Certificate{*leaf}, MinVersion: tls.VersionTLS12}, nil)
	w.use(policy.Intercept)
	return a
}

// dials are the two ways to a server.
func (a *oracle) dials() map[string]func() net.Conn {
	return map[string]func() net.Conn{
		"us": func() net.Conn { return a.w.dial(as{original: a.o.addr}) },
		"crypto/tls": func() net.Conn {
			c, err := net.Dial("tcp", a.plain.addr.String())
			must(a.w.t, err)
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			return c
		},
	}
}

// TestAdversarialHellos is scorecard B3 for what comes first: whatever crypto/tls
// does not answer with a ServerHello, we do not either, and no such connection is
// left hanging. The cases are ours: tlsfuzzer is in no registry that serves here.
func TestAdversarialHellos(t *testing.T) {
	a := newOracle(t)
	dials := a.dials()
	tally := map[string]int{}
	hellos := slices.Concat(flipped(captureHello(t)), framed(captureHello(t)))
	for _, h := range hellos {
		us, plain := answerTo(dials["us"](), h.bytes), answerTo(dials["crypto/tls"](), h.bytes)
		tally[fmt.Sprintf("crypto/tls: %s, we: %s", plain, us)]++
		if us == goesOn && plain != goesOn {
			t.Errorf("%s: answered with a ServerHello; crypto/tls: %s", h.name, plain)
		}
		if us == hangs {
			t.Errorf("%s: left hanging", h.name)
		}
	}
	t.Logf("%d hellos: %v", len(hellos), tally)
	a.lives(t)
}

// TestAdversarialSecondFlights is B3 for what follows: nothing that the client
// sends after the ServerHello may be changed and the handshake still succeed.
func TestAdversarialSecondFlights(t *testing.T) {
	a := newOracle(t)
	dials := a.dials()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		tally := map[string]int{}
		for at := range 140 {
			done := map[string]bool{}
			for who, dial := range dials {
				raw := &bent{TCPConn: dial().(*net.TCPConn), at: at, last: version == tls.VersionTLS12}
				c := tls.Client(raw, &tls.Config{ServerName: host, RootCAs: a.w.roots(), MaxVersion: version})
				err := c.Handshake()
				if err == nil && version == tls.VersionTLS13 { // where the client is done before the server is
					_, _ = io.WriteString(c, plainGet)
					_ = raw.CloseWrite()
					_, err = io.ReadFull(c, make([]byte, len(okResponse)))
				}
				done[who] = err == nil
				_ = raw.Close()
			}
			tally[fmt.Sprintf("crypto/tls %v, we %v", done["crypto/tls"], done["us"])]++
			if done["us"] && !done["crypto/tls"] {
				t.Errorf("%s: byte %d of the second flight changed, and it went on", tls.VersionName(version), at)
			}
		}
		t.Logf("%s: %v", tls.VersionName(version), tally)
	}
	a.lives(t)
}

// lives checks that both still serve, and that we found no defect of ours.
func (a *oracle) lives(t *testing.T) {
	t.Helper()
	for who, dial := range a.dials() {
		c := tls.Client(dial(), &tls.Config{ServerName: host, RootCAs: a.w.roots()})
		_, _ = io.WriteString(c, plainGet)
		expectRead(t, c, okResponse)
		_ = c.Close()
		if got := c.ConnectionState().Version; got != tls.VersionTLS13 {
			t.Errorf("%s: version %x", who, got)
		}
	}
	a.w.quiet()
	if len(a.w.defects.all) > 0 {
		t.Errorf("defects: %v", a.w.defects.all)
	}
}

// What a server makes of a hello.
const (
	goesOn = "ServerHello"
	alerts = "alert"
	closes = "close"
	hangs  = "silence"
)

// answerTo sends bytes, ends its side, and says what the server did.
func answerTo(c net.Conn, hello []byte) string {
	defer c.Close()
	_, _ = c.Write(hello)
	_ = c.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(c)
	if e, ok := err.(net.Error); ok && e.Timeout() {
		return hangs
	}
	switch {
	case len(got) > 5 && got[0] == 22 && got[5] == 2:
		return goesOn
	case len(got) > 0 && got[0] == 21:
		return alerts
	}
	return closes
}

// captureHello is a record with crypto/tls's own hello, without the large key
// share, so that every byte of it can be tried.
func captureHello(t testing.TB) []byte {
	here, there := net.Pipe()
	defer there.Close()
	go func() {
		_ = tls.Client(here, &tls.Config{ServerName: host, CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256}}).Handshake()
		_ = here.Close()
	}()
	head := make([]byte, 5)
	_, err := io.ReadFull(there, head)
	must(t, err)
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	_, err = io.ReadFull(there, body)
	must(t, err)
	return append(head, body...)
}

type namedHello struct {
	name  string
	bytes []byte
}

// flipped are the hello with each byte changed, and cut off at each byte.
func flipped(hello []byte) (out []namedHello) {
	for i := range hello {
		for _, by := range []byte{0x01, 0x80, 0xff} {
			changed := bytes.Clone(hello)
			changed[i] ^= by
			out = append(out, namedHello{fmt.Sprintf("byte %d xor %02x", i, by), changed})
		}
		out = append(out, namedHello{fmt.Sprintf("cut at %d", i), hello[:i]})
	}
	return out
}

// framed are records that carry the hello in odd ways, or something else.
func framed(hello []byte) []namedHello {
	body := hello[5:]
	record := func(kind byte, body []byte) []byte {
		return append([]byte{kind, 3, 1, byte(len(body) >> 8), byte(len(body))}, body...)
	}
	handshake := func(kind byte, body []byte) []byte {
		return append([]byte{kind, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	}
	pieces := func(n int) (out []byte) {
		for piece := range slices.Chunk(body, n) {
			out = append(out, record(22, piece)...)
		}
		return out
	}
	warning, ccs := record(21, []byte{1, 0}), record(20, []byte{1})
	out := []namedHello{
		{"whole", hello},
		{"twice", slices.Concat(hello, hello)},
		{"both hellos in one record", record(22, slices.Concat(body, body))},
		{"an alert first", slices.Concat(warning, hello)},
		{"a fatal alert first", slices.Concat(record(21, []byte{2, 40}), hello)},
		{"a CCS first", slices.Concat(ccs, hello)},
		{"a CCS in the middle", slices.Concat(record(22, body[:10]), ccs, record(22, body[10:]))},
		{"an alert in the middle", slices.Concat(record(22, body[:10]), warning, record(22, body[10:]))},
		{"an empty record first", slices.Concat(record(22, nil), hello)},
		{"an empty record in the middle", slices.Concat(record(22, body[:10]), record(22, nil), record(22, body[10:]))},
		{"application data first", slices.Concat(record(23, []byte("GET / HTTP/1.1\r\n\r\n")), hello)},
		{"application data alone", record(23, bytes.Repeat([]byte{0}, 100))},
		{"a heartbeat", record(24, []byte{1, 0x40, 0})},
		{"a heartbeat after", slices.Concat(hello, record(24, []byte{1, 0x40, 0}))},
		{"SSLv2", []byte("\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x07\x00\xc0\x05\x00\x80\x03\x00\x80\x01\x00\x80\x06\x00\x40\x04\x00\x80\x02\x00\x80AAAAAAAAAAAAAAAA")},
		{"a record over the limit", record(22, bytes.Repeat([]byte{1}, 17000))},
		{"an extension over the end", record(22, handshake(1, append(bytes.Clone(body[4:len(body)-2]), 0xff, 0xff)))},
		{"a tail behind the extensions", record(22, handshake(1, append(bytes.Clone(body[4:]), 0, 0)))},
		{"no extensions", record(22, handshake(1, body[4:4+2+32+1+32+2]))},
		{"hello request", record(22, handshake(0, nil))},
		{"a certificate", record(22, handshake(11, []byte{0, 0, 0}))},
		{"finished", record(22, handshake(20, make([]byte, 32)))},
		{"key update", record(22, handshake(24, []byte{0}))},
		{"64 KiB of hello", record(22, handshake(1, make([]byte, 16000)))},
		{"zeros", make([]byte, 2000)},
	}
	for _, n := range []int{1, 2, 3, 5, 50} {
		out = append(out, namedHello{fmt.Sprintf("in records of %d", n), pieces(n)})
	}
	out = append(out, namedHello{"40 alerts first", append(bytes.Repeat(warning, 40), hello...)},
		namedHello{"40 empty records first", append(bytes.Repeat(record(22, nil), 40), hello...)},
		namedHello{"40 empty records within", slices.Concat(record(22, body[:10]), bytes.Repeat(record(22, nil), 40), record(22, body[10:]))})
	return out
}

// bent changes one byte of what is written after the first flight.
type bent struct {
	*net.TCPConn
	at      int  // from the start of the second flight
	last    bool // nothing follows that flight, so that a length that grew waits for nothing
	flights int
	written int
}

func (c *bent) Write(p []byte) (int, error) {
	if c.flights++; c.flights == 1 {
		return c.TCPConn.Write(p)
	}
	if i := c.at - c.written; i >= 0 && i < len(p) {
		p = bytes.Clone(p)
		p[i] ^= 0x04
	}
	c.written += len(p)
	n, err := c.TCPConn.Write(p)
	if c.last {
		_ = c.CloseWrite()
	}
	return n, err
}
