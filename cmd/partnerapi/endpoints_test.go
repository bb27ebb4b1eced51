package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
)

// open starts a partner that demands nothing.
func open(t *testing.T) *running {
	t.Helper()
	p := start(t)
	o := &options{cert: p.dir + "/" + serverCert, key: p.dir + "/" + serverKey, listen: "127.0.0.1:0", window: 1, nonces: 1, maxBody: 1}
	out, in := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, o, in); in.Close() }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	p.addr = strings.TrimSpace(strings.TrimPrefix(line, "listening on "))
	return p
}

func both(t *testing.T, f func(t *testing.T, p *running, c *http.Client)) {
	p := open(t)
	t.Run("http1", func(t *testing.T) { f(t, p, p.client(t, true)) })
	t.Run("http2", func(t *testing.T) { f(t, p, p.client(t, false)) })
}

// get reads a whole answer of 200.
func get(t *testing.T, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// TestEchoGoesBothWays: the first bytes are back before the last are sent.
func TestEchoGoesBothWays(t *testing.T) {
	both(t, func(t *testing.T, p *running, c *http.Client) {
		body, in := io.Pipe()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+p.addr+"/echo", body)
		if err != nil {
			t.Fatal(err)
		}
		go io.WriteString(in, "first")
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		first := make([]byte, 5)
		if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "first" {
			t.Fatalf("read %q, %v", first, err)
		}
		rest := make([]byte, 300<<10)
		rand.Read(rest)
		go func() { in.Write(rest); in.Close() }()
		if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, rest) {
			t.Errorf("%d bytes back of %d, %v", len(got), len(rest), err)
		}
	})
}

func TestStreamsAndTrailers(t *testing.T) {
	both(t, func(t *testing.T, p *running, c *http.Client) {
		if _, b := get(t, c, "https://"+p.addr+"/stream?bytes=100003"); len(b) != 100003 {
			t.Errorf("stream has %d bytes", len(b))
		}
		resp, b := get(t, c, "https://"+p.addr+"/sse?n=2")
		if want := "id: 1\ndata: event 1 of 2\n\nid: 2\ndata: event 2 of 2\n\n"; b != want || resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("events: %q", b)
		}
		resp, _ = get(t, c, "https://"+p.addr+"/trailers")
		if resp.Trailer.Get("X-Status") != "0" || resp.Trailer.Get("X-Unannounced") != "yes" || len(resp.Trailer.Get("X-Body-Sha256")) != 64 {
			t.Errorf("trailers: %v", resp.Trailer)
		}
		resp, _ = get(t, c, "https://"+p.addr+"/status?code=307&location=http://other.example/")
		if resp.StatusCode != 307 || resp.Header.Get("Location") != "http://other.example/" {
			t.Errorf("status: %d %v", resp.StatusCode, resp.Header)
		}
	})
}

func TestWebsocket(t *testing.T) {
	p := open(t)
	d := tls.Dialer{Config: &tls.Config{RootCAs: p.roots, ServerName: partnerName}}
	conn, err := d.DialContext(t.Context(), "tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The key and its answer are the example of RFC 6455 section 1.3.
	io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Sec-Websocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("handshake: %+v %v", resp, err)
	}
	for _, size := range []int{0, 5, 125, 126, 65535, 65536, 100000} {
		message := bytes.Repeat([]byte{'x'}, size)
		conn.Write(frame(finalBit|2, message))
		if first, got := answered(t, r); first != finalBit|2 || !bytes.Equal(got, message) {
			t.Fatalf("size %d: frame %x with %d bytes", size, first, len(got))
		}
	}
	conn.Write(frame(finalBit|opPing, []byte("hi")))
	if first, got := answered(t, r); first != finalBit|opPong || string(got) != "hi" {
		t.Errorf("ping: frame %x %q", first, got)
	}
	conn.Write(frame(finalBit|opClose, []byte{3, 232}))
	if first, got := answered(t, r); first != finalBit|opClose || !bytes.Equal(got, []byte{3, 232}) {
		t.Errorf("close: frame %x %x", first, got)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after close: %v", err)
	}
}

// frame is a masked client frame.
func frame(first byte, payload []byte) []byte {
	var long bytes.Buffer
	w := bufio.NewWriter(&long)
	writeFrame(w, first, payload)
	w.Flush()
	head := long.Bytes()[:long.Len()-len(payload)]
	out := bytes.Clone(head)
	out[1] |= maskBit
	mask := []byte{1, 2, 3, 4}
	out = append(out, mask...)
	for i, c := range payload {
		out = append(out, c^mask[i%4])
	}
	return out
}

// answered reads one unmasked frame.
func answered(t *testing.T, r *bufio.Reader) (byte, []byte) {
	t.Helper()
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		t.Fatal(err)
	}
	n, err := frameLength(r, head[1])
	if err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		t.Fatal(err)
	}
	return head[0], payload
}

// FuzzFrame: no input makes the reader panic or take memory beyond the limit.
func FuzzFrame(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		_, payload, err := readFrame(bufio.NewReader(bytes.NewReader(b)))
		if err == nil && len(payload) > len(b) {
			t.Fatalf("%d bytes of payload from %d", len(payload), len(b))
		}
	})
}

func TestReadyFD(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var stdout bytes.Buffer
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7}
	// The descriptor is given away: announce closes it.
	fd, err := syscall.Dup(int(w.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	announce(fd, &stdout, addr)
	got, err := io.ReadAll(r)
	if err != nil || string(got) != "listening on 127.0.0.1:7\n" || stdout.String() != string(got) {
		t.Errorf("ready line %q, stdout %q, %v", got, stdout.String(), err)
	}
}
