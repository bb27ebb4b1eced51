package authority

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/clienthello"
)

// shape is how a ClientHello arrives.
type shape struct {
	name   string // server name; "" sends no such extension
	offset int    // of the server name in the stream, at least; 0 = no padding
	ech    bool   // with an outer encrypted_client_hello
	record int    // bytes in a record
	write  int    // bytes in a write
}

// hello builds a TLS 1.2 ClientHello: in that version the server's certificate
// comes back in the clear.
func (s shape) hello() []byte {
	vector := func(size int, b []byte) []byte {
		n := binary.BigEndian.AppendUint32(nil, uint32(len(b)))
		return append(n[4-size:], b...)
	}
	extension := func(id uint16, b []byte) []byte {
		return append(binary.BigEndian.AppendUint16(nil, id), vector(2, b)...)
	}
	var extensions []byte
	if s.offset > 0 {
		const before = 5 + 4 + 2 + 32 + 1 + 4 + 2 + 2 + 4 + 9 // headers and fields that stand before the name
		extensions = append(extensions, extension(21, make([]byte, max(0, s.offset-before)))...)
	}
	if s.name != "" {
		extensions = append(extensions, extension(0, vector(2, append([]byte{0}, vector(2, []byte(s.name))...)))...)
	}
	if s.ech {
		extensions = append(extensions, extension(0xfe0d, outerECH(vector))...)
	}
	extensions = append(extensions, extension(10, []byte{0, 2, 0, 23})...) // P-256
	extensions = append(extensions, extension(11, []byte{1, 0})...)        // uncompressed points
	extensions = append(extensions, extension(13, []byte{0, 2, 4, 3})...)  // ecdsa_secp256r1_sha256
	body := append([]byte{3, 3}, bytes.Repeat([]byte{1}, 32)...)           // version, random
	body = append(body, 0, 0, 2, 0xc0, 0x2b, 1, 0)                         // no session, ECDHE-ECDSA-AES128-GCM, no compression
	body = append(body, vector(2, extensions)...)
	message := append([]byte{1}, vector(3, body)...)
	var stream []byte
	for len(message) > 0 {
		n := min(len(message), s.record)
		stream = append(append(stream, 22, 3, 1), vector(2, message[:n])...)
		message = message[n:]
	}
	return stream
}

// outerECH is well formed and opens for nobody, as GREASE is (RFC 9849 section 6.2).
func outerECH(vector func(int, []byte) []byte) []byte {
	b := []byte{0, 0, 1, 0, 1, 7} // outer, HKDF-SHA256, AES-128-GCM, an id
	b = append(b, vector(2, make([]byte, 32))...)
	return append(b, vector(2, make([]byte, 160))...)
}

// answer sends the hello to a server that peeks as the product does, and returns
// the leaf, or nil after an alert. Everything ends within five seconds.
func (s shape) answer(t *testing.T, a *Authority) *x509.Certificate {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	must(t, near.SetDeadline(time.Now().Add(5*time.Second)))
	go func() {
		defer far.Close()
		c := clienthello.NewConn(far)
		for {
			b, err := c.Fill()
			if err != nil {
				return
			}
			if _, err := clienthello.Parse(b); !errors.Is(err, clienthello.ErrIncomplete) {
				break
			}
		}
		_ = tls.Server(c, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return a.Certificate(h.ServerName)
		}}).Handshake()
	}()
	go func() {
		for b := s.hello(); len(b) > 0; b = b[min(len(b), s.write):] {
			if _, err := near.Write(b[:min(len(b), s.write)]); err != nil {
				return
			}
		}
	}()
	return readLeaf(t, near)
}

// readLeaf reads records up to the server's certificate (RFC 5246 section 7.4.2),
// which is the first message after ServerHello.
func readLeaf(t *testing.T, r io.Reader) *x509.Certificate {
	t.Helper()
	var messages []byte
	for {
		var head [5]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			t.Errorf("neither a certificate nor an alert: %v", err)
			return nil
		}
		body := make([]byte, binary.BigEndian.Uint16(head[3:]))
		if _, err := io.ReadFull(r, body); err != nil {
			t.Error(err)
			return nil
		}
		if head[0] == 21 {
			return nil
		}
		messages = append(messages, body...)
		for m := messages; len(m) >= 4; {
			size := 4 + int(m[1])<<16 + int(m[2])<<8 + int(m[3])
			if len(m) < size {
				break
			}
			if m[0] == 11 {
				first := 10 + int(m[7])<<16 + int(m[8])<<8 + int(m[9])
				leaf, err := x509.ParseCertificate(m[10:first])
				must(t, err)
				return leaf
			}
			m = m[size:]
		}
	}
}

// However the hello comes: the leaf of exactly the name that was asked for.
func TestRightLeafForEveryShapeOfHello(t *testing.T) {
	dir := freshDir(t)
	a := open(t, dir, Options{Permitted: []string{"*.example.com"}})
	before := contents(t, dir)
	for _, offset := range []int{0, 500, 1023, 1024, 1025, 4096, 16384, 16385, 32768} {
		for _, how := range []shape{
			{record: 1 << 14, write: 1 << 20}, {record: 1 << 14, write: 1}, {record: 700, write: 1024}, {record: 1 << 14, write: 1 << 20, ech: true},
		} {
			how.offset = offset
			how.name = fmt.Sprintf("host-%d.example.com", offset)
			if at := bytes.Index(how.hello(), []byte(how.name)); offset > 0 && how.record == 1<<14 && offset < 1<<14 && at != offset {
				t.Fatalf("the name stands at %d, want %d", at, offset)
			}
			leaf := how.answer(t, a)
			if leaf == nil {
				t.Errorf("%+v: no leaf", how)
				continue
			}
			checkLeaf(t, leaf, how.name)
			must(t, verify(leaf, a.Root(), how.name))
		}
	}
	if after := contents(t, dir); len(after) != len(before) || after[keyFile] != before[keyFile] {
		t.Error("a handshake wrote to the disk")
	}
}

// A hostile name, none, or one that is not ours to speak for: an alert, and
// nothing is kept.
func TestHostileHellosGetAnAlert(t *testing.T) {
	dir := freshDir(t)
	a := open(t, dir, Options{Permitted: []string{"*.example.com"}, Leaves: 4})
	for _, name := range []string{
		"", "*", "*.example.com", "a\x00.example.com", "../../etc/passwd", "a b.example.com", "bücher.example.com", "\xff.example.com",
		strings.Repeat("a", 64) + ".example.com", strings.Repeat("a.", 130) + "example.com", strings.Repeat("a", 20<<10), "192.0.2.1",
		"example.com", "example.com.evil.example", "aexample.com", ".example.com", "a..example.com", "%s.example.com",
	} {
		for _, write := range []int{1 << 20, 1} {
			s := shape{name: name, record: 1 << 14, write: write}
			if leaf := s.answer(t, a); leaf != nil {
				t.Errorf("%.40q got a leaf for %q", name, leaf.DNSNames)
			}
		}
	}
	if n := len(a.now.Load().leaves.names); n != 0 {
		t.Errorf("%d leaves were made", n)
	}
	for range 50 { // a flood of good names is bounded
		s := shape{name: strings.ToLower(rand.Text()) + ".example.com", record: 1 << 14, write: 1 << 20}
		s.answer(t, a)
	}
	if n := len(a.now.Load().leaves.names); n > 4 {
		t.Errorf("%d leaves are kept, the bound is 4", n)
	}
	if len(contents(t, dir)) != 2 {
		t.Error("names reached the disk")
	}
}
