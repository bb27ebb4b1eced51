package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// way is what became of the connections of one kind. They follow one another: the
// next is opened as soon as one has ended.
type way struct {
	mu          sync.Mutex
	Connections int      // opened, each with an answer
	Messages    int      // answers in full, of all of them
	Failed      []string // why one did not end in good order
}

func (w *way) opened()           { w.change(func() { w.Connections++ }) }
func (w *way) answered()         { w.change(func() { w.Messages++ }) }
func (w *way) failed(err error)  { w.change(func() { w.Failed = append(w.Failed, err.Error()) }) }
func (w *way) change(how func()) { w.mu.Lock(); defer w.mu.Unlock(); how() }

// stay keeps connections open, each as long as the other side lets it: an idle one,
// a download that takes its time, and for HTTP/1.1, HTTP/2, WebSocket and TLS of
// another origin one that is in use without a pause. It answers each line on stdin
// with what became of them so far.
func stay(name, sealed string) error {
	ways := map[string]*way{}
	for kind, live := range map[string]func(*tls.Conn, *way) error{
		"idle": idle, "download": download, "http1": keepAlive, "http2": streams, "websocket": chat, "sealed": echo,
	} {
		config := &tls.Config{ServerName: name, NextProtos: []string{"http/1.1"}}
		switch kind {
		case "http2":
			config.NextProtos = []string{"h2"}
		case "sealed":
			config = &tls.Config{ServerName: sealed}
		}
		w := &way{}
		ways[kind] = w
		go func() {
			for {
				if err := lifetime(config, w, live); err != nil {
					w.failed(err)
					time.Sleep(10 * time.Millisecond) // who is refused at once would do nothing else
				}
			}
		}()
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := tell(ways); err != nil {
			return err
		}
	}
	return nil
}

func tell(ways map[string]*way) error {
	for _, w := range ways {
		w.mu.Lock()
		defer w.mu.Unlock()
	}
	return json.NewEncoder(os.Stdout).Encode(ways)
}

// lifetime is one connection, from its dial to its end.
func lifetime(config *tls.Config, w *way, live func(*tls.Conn, *way) error) error {
	c, err := tls.Dial("tcp", config.ServerName+":443", config)
	if err != nil {
		return err
	}
	defer c.Close()
	return live(c, w)
}

// ended is nil for an end that the other side has announced.
func ended(c io.Reader) error {
	n, err := c.Read(make([]byte, 1))
	if n == 0 && err == io.EOF {
		return nil
	}
	return fmt.Errorf("%d more bytes, %v", n, err)
}

func request(c *tls.Conn, path, more string) error {
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", path, c.ConnectionState().ServerName, more)
	return err
}

// exchange is one request and its answer in full; last: no other may follow.
func exchange(c *tls.Conn, r *bufio.Reader, path string) (last bool, err error) {
	if err := request(c, path, ""); err != nil {
		return false, err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return false, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return resp.Close, err
}

func keepAlive(c *tls.Conn, w *way) error {
	r := bufio.NewReader(c)
	for n := 0; ; n++ {
		last, err := exchange(c, r, "/")
		if err != nil {
			return err
		}
		if n == 0 {
			w.opened()
		}
		w.answered()
		if last {
			return ended(r)
		}
	}
}

func idle(c *tls.Conn, w *way) error {
	r := bufio.NewReader(c)
	if _, err := exchange(c, r, "/"); err != nil {
		return err
	}
	w.opened()
	return ended(r)
}

func download(c *tls.Conn, w *way) error {
	if err := request(c, "/slow", ""); err != nil {
		return err
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	w.opened()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	w.answered()
	return ended(r)
}

// chat echoes WebSocket frames.
func chat(c *tls.Conn, w *way) error {
	const handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
	if err := request(c, "/ws", handshake); err != nil {
		return err
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return errors.New(resp.Status)
	}
	const text = "still here"
	frame := string([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}) + text // masked by nothing
	return converse(c, r, w, frame, string([]byte{0x81, byte(len(text))})+text)
}

// echo does the same within TLS that nobody on the way looks into, and nobody can
// end in good order: who speaks as it is closed finds the pipe broken.
func echo(c *tls.Conn, w *way) error {
	err := converse(c, c, w, "still here", "still here")
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// converse says something and hears the answer, again and again, until it hears
// the end.
func converse(c io.Writer, r io.Reader, w *way, say, hear string) error {
	answer := make([]byte, len(hear))
	for n := 0; ; n++ {
		if _, err := io.WriteString(c, say); err != nil {
			return err
		}
		if _, err := io.ReadFull(r, answer); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if string(answer) != hear {
			return fmt.Errorf("%q came back", strings.ToValidUTF8(string(answer), "?"))
		}
		if n == 0 {
			w.opened()
		}
		w.answered()
	}
}
