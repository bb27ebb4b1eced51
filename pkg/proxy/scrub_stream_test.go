package proxy_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/policy"
)

// TestScrubbedEvents: an event does not wait for the next, though its end may be the
// beginning of the credential; the same in each coding.
func TestScrubbedEvents(t *testing.T) {
	for _, alpn := range versions {
		for _, encoding := range []string{"", "gzip", "deflate", "br", "zstd"} {
			t.Run(alpn+"/"+encoding, func(t *testing.T) {
				w := newWorld(t)
				w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
				next := make(chan string)
				o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					out := coder(nopCoder{rw})
					if encoding != "" {
						rw.Header().Set("Content-Encoding", encoding)
						out = coders[encoding](rw)
					}
					rw.(http.Flusher).Flush()
					for event := range next {
						_, _ = io.WriteString(out, event)
						_ = out.Flush()
						rw.(http.Flusher).Flush()
					}
					_ = out.Close()
				}))
				w.use(policy.Intercept, w.scrubbedRoute())
				res := w.do(o, alpn, mustRequest(t, "GET", "https://"+host+"/events", nil))
				var from io.Reader = res.Body
				events := make(chan error, 1)
				for i, event := range []string{"data: 1\n\n", "data: c", "data: canary-5e7c41", "x", "data: " + canary + "\n\n", "end"} {
					next <- event
					if i == 0 {
						from = decoderOf(t, encoding, from)
					}
					want := strings.ReplaceAll(event, canary, "[redacted:token]")
					got := make([]byte, len(want))
					go func() { _, err := io.ReadFull(from, got); events <- err }()
					if err := <-events; err != nil || string(got) != want {
						t.Fatalf("%q came as %q, %v", event, got, err)
					}
				}
				close(next)
				if rest, err := io.ReadAll(from); len(rest) > 0 || err != nil {
					t.Errorf("after the last event: %q, %v", rest, err)
				}
			})
		}
	}
}

// TestScrubbedWebSocket: frames keep their lengths, nothing compressed is agreed on,
// and a message does not wait for the next.
func TestScrubbedWebSocket(t *testing.T) {
	w := newWorld(t)
	o := w.originFor(func(c net.Conn) {
		if !newReader(c).head() {
			return
		}
		_, _ = io.WriteString(c, strings.Replace(switched, "\r\n\r\n", "\r\nX-Echo: "+canary+"\r\n\r\n\x81\x13a "+canary, 1))
		_, _ = io.Copy(io.Discard, c)
		_, _ = io.WriteString(c, "\x81\x01c")
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
	}, host)
	w.use(policy.Intercept, w.scrubbedRoute())
	c := w.tls(as{original: o.addr}, host)
	_, _ = io.WriteString(c, strings.Replace(upgrade, "\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", 1))
	expectRead(t, c, strings.Replace(switched, "\r\n\r\n", "\r\nX-Echo: [redacted:token]\r\n\r\n", 1)+"\x81\x13a [redacted:token]*")
	must(t, c.CloseWrite())
	expectRead(t, c, "\x81\x01c")
	if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	if bytes.Contains(bytes.ToLower(o.got()), []byte("permessage")) {
		t.Errorf("a compression was offered: %q", o.got())
	}
	if r := w.request(); len(r.Scrubbed) != 1 || r.Scrubbed[0].Count != 2 {
		t.Errorf("record %+v", r)
	}
}

// TestScrubbedForHTTP10: a content of which the length changes ends with its
// connection, as chunks are unknown to the client.
func TestScrubbedForHTTP10(t *testing.T) {
	w := newWorld(t)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, "it is "+canary+"!")
	must(t, z.Close())
	o := w.originFor(answer(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", packed.Len(), packed.String())), host)
	w.use(policy.Intercept, w.scrubbedRoute())
	got := w.say(o, "GET / HTTP/1.0\r\nHost: "+host+"\r\n\r\n")
	head, body, _ := strings.Cut(got, "\r\n\r\n")
	if strings.Contains(head, "Content-Length") || strings.Contains(head, "chunked") || decoded(t, "gzip", []byte(body)) != "it is [redacted:token]!" {
		t.Errorf("%q", got)
	}
}

// TestScrubbedAtThePause: a credential in two parts is found, also where the time for
// what was held before is over as the first of them comes.
func TestScrubbedAtThePause(t *testing.T) {
	const patience, streams = 50 * time.Millisecond, 64
	w, o := overHTTP2(t, func(rw http.ResponseWriter, r *http.Request) {
		say := func(what string) {
			_, _ = io.WriteString(rw, what)
			rw.(http.Flusher).Flush()
		}
		number, _ := strconv.Atoi(r.URL.Path[1:])
		say("c")
		time.Sleep(patience - 400*time.Microsecond + time.Duration(number)*10*time.Microsecond)
		began := time.Now()
		say("x" + canary[:8])
		time.Sleep(time.Millisecond)
		say(canary[8:])
		if time.Since(began) > patience/2 {
			say("late")
		}
	})
	w.use(policy.Intercept, w.scrubbedRoute())
	rt := w.roundTripper(w.tls(as{original: o.addr}, host, "h2"))
	stalls := stalls(t, patience/4)
	var wg sync.WaitGroup
	for range 8 {
		for i := range streams {
			wg.Go(func() {
				before := stalls.Load()
				res, err := rt.RoundTrip(mustRequest(t, "GET", "https://"+host+"/"+strconv.Itoa(i), nil))
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(res.Body)
				late := strings.HasSuffix(string(got), "late") || stalls.Load() > before
				if err != nil || string(got) != "cx[redacted:token]" && !late {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
		wg.Wait()
	}
}

// stalls counts how often the test's process got no processor for so long: what comes in
// two parts may have come to us further apart then.
func stalls(t *testing.T, d time.Duration) *atomic.Int64 {
	var n atomic.Int64
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	go func() {
		for last := time.Now(); ; {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
			now := time.Now()
			if now.Sub(last) > d {
				n.Add(1)
			}
			last = now
		}
	}()
	return &n
}

// TestScrubbedBesideTheContent: what an encoding or a framing carries beside a content
// that is clean is not passed on with it.
func TestScrubbedBesideTheContent(t *testing.T) {
	pack := func(name string) string {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		z.Name = name
		_, _ = io.WriteString(z, "fine")
		must(t, z.Close())
		return packed.String()
	}
	plain := pack("")
	for name, answered := range map[string]string{
		"chunk extension": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x;echo=%s\r\n%s\r\n0\r\n\r\n", len(plain), canary, plain),
		"last chunk":      fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0;echo=%s\r\n\r\n", len(plain), plain, canary),
		"name in gzip":    fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(pack(canary)), pack(canary)),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := w.originFor(answer("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"+answered), host)
			w.use(policy.Intercept, w.scrubbedRoute())
			got := w.say(o, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(got)), nil)
			must(t, err)
			body, err := io.ReadAll(res.Body)
			must(t, err)
			if strings.Contains(got, canary) || decoded(t, "gzip", body) != "fine" {
				t.Errorf("%q", got)
			}
		})
	}
}
