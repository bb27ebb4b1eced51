package clienthello_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/outwarden/outwarden/pkg/clienthello"
)

func TestConnReplays(t *testing.T) {
	client, server := pair(t)
	c := clienthello.NewConn(server)
	for _, s := range []string{"ab", "cd"} {
		if _, err := client.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Fill(); err != nil {
			t.Fatal(err)
		}
	}
	if string(c.Peeked()) != "abcd" {
		t.Fatalf("peeked %q", c.Peeked())
	}
	_, _ = client.Write([]byte("ef"))
	_ = client.CloseWrite()
	var one [1]byte
	if n, err := c.Read(one[:]); n != 1 || err != nil || one[0] != 'a' || string(c.Peeked()) != "bcd" {
		t.Fatalf("read %q, %v, left %q", one[:n], err, c.Peeked())
	}
	rest, err := io.ReadAll(c)
	if string(rest) != "bcdef" || err != nil || c.Peeked() != nil {
		t.Errorf("read %q, %v, left %q", rest, err, c.Peeked())
	}
	if c.NetConn() != net.Conn(server) {
		t.Error("NetConn is another connection")
	}
	if b, err := c.Fill(); len(b) != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %q, %v", b, err)
	}
}

// The peek is bounded, whoever forgets to look at what it holds.
func TestConnPeekIsBounded(t *testing.T) {
	client, server := pair(t)
	go func() { _, _ = io.CopyN(client, zeros{}, clienthello.MaxSize+1) }()
	c := clienthello.NewConn(server)
	var err error
	for err == nil {
		_, err = c.Fill()
	}
	if !errors.Is(err, clienthello.ErrPeekFull) || len(c.Peeked()) != clienthello.MaxSize {
		t.Errorf("%d bytes, %v", len(c.Peeked()), err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// sink notes from whom it was told to read, as *net.TCPConn does to splice.
type sink struct {
	bytes.Buffer
	from io.Reader
}

func (s *sink) ReadFrom(r io.Reader) (int64, error) {
	s.from = r
	return s.Buffer.ReadFrom(r)
}

func TestConnCopies(t *testing.T) {
	client, server := pair(t)
	c := clienthello.NewConn(server)
	_, _ = client.Write([]byte("peeked "))
	if _, err := c.Fill(); err != nil {
		t.Fatal(err)
	}
	_, _ = client.Write([]byte("and not"))
	_ = client.CloseWrite()
	var s sink
	n, err := io.Copy(&s, c)
	if n != 14 || err != nil || s.String() != "peeked and not" || c.Peeked() != nil {
		t.Errorf("copied %d, %v: %q", n, err, s.String())
	}
	if _, ours := s.from.(*clienthello.Conn); ours || s.from == nil {
		t.Errorf("the rest came from a %T, which cannot be spliced", s.from)
	}
}

// Both directions between two Conns, peeked bytes and half-close included.
func TestConnRelay(t *testing.T) {
	client, down := pair(t)
	up, origin := pair(t)
	d, u := clienthello.NewConn(down), clienthello.NewConn(up)
	body := bytes.Repeat([]byte("0123456789"), 100_000)
	go func() {
		_, _ = client.Write(body)
		_ = client.CloseWrite()
	}()
	go func() {
		_, _ = io.Copy(origin, origin)
		_ = origin.CloseWrite()
	}()
	if _, err := d.Fill(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.Copy(u, d)
		_ = u.CloseWrite()
	}()
	go func() {
		_, _ = d.ReadFrom(u)
		_ = d.CloseWrite()
	}()
	back, err := io.ReadAll(client)
	if err != nil || !bytes.Equal(back, body) {
		t.Errorf("%d bytes came back of %d, %v", len(back), len(body), err)
	}
}

// A connection without half-close is closed.
func TestConnCloseWrite(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	if err := clienthello.NewConn(a).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the peer reads %v", err)
	}
}
