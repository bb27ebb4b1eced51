package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

const patience = 20 * time.Second // for anything that should take milliseconds

// target is a URL as this client needs it.
type target struct{ name, addr, path string }

func (t *target) String() string { return "https://" + t.name + t.path }

// Set parses https://NAME[:PORT]/PATH.
func (t *target) Set(s string) error {
	rest, ok := strings.CutPrefix(s, "https://")
	authority, path, slash := strings.Cut(rest, "/")
	if !ok || !slash {
		return errors.New("want https://NAME/PATH")
	}
	name, port, found := strings.Cut(authority, ":")
	if !found {
		port = "443"
	}
	t.name, t.addr, t.path = name, net.JoinHostPort(name, port), "/"+path
	return nil
}

// conn is a connection that speaks just enough HTTP/1.1.
type conn struct {
	tls    *tls.Conn
	r      *bufio.Reader
	answer struct {
		status int
		seen   string // what the origin saw as Authorization, where it tells
		length int64  // -1: chunked
	}
}

func dial(addr string, config *tls.Config) (*conn, error) {
	raw, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	c := tls.Client(raw, config)
	c.SetDeadline(time.Now().Add(patience))
	if err := c.Handshake(); err != nil {
		raw.Close()
		return nil, err
	}
	c.SetDeadline(time.Time{})
	return &conn{tls: c, r: bufio.NewReaderSize(c, 4096)}, nil
}

// do sends a request and reads all of the answer, which must be a 200.
func (c *conn) do(request []byte) error {
	if _, err := c.tls.Write(request); err != nil {
		return err
	}
	return c.read()
}

func (c *conn) read() error {
	if err := c.head(); err != nil {
		return err
	}
	if err := c.body(); err != nil {
		return err
	}
	if c.answer.status != 200 {
		return fmt.Errorf("status %d", c.answer.status)
	}
	return nil
}

func (c *conn) head() error {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if len(line) < 12 {
		return fmt.Errorf("status line %q", line)
	}
	c.answer.status, _ = strconv.Atoi(string(line[9:12]))
	c.answer.seen, c.answer.length = "", -1
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			return nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			c.answer.length, _ = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
		case bytes.EqualFold(name, []byte("x-seen")):
			c.answer.seen = string(bytes.TrimSpace(value))
		}
	}
}

func (c *conn) body() error {
	if c.answer.length >= 0 {
		_, err := io.CopyN(io.Discard, c.r, c.answer.length)
		return err
	}
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 64)
		if err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, c.r, n+2); err != nil || n == 0 {
			return err
		}
	}
}

func (c *conn) close() { c.tls.Close() }

// request is a GET's head; fields are whole lines.
func request(o options, method string, fields ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n", method, o.url.path, o.url.name)
	if o.bearer != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", o.bearer)
	}
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	b.WriteString("\r\n")
	return b.Bytes()
}
