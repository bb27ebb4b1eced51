package daemon_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	longName   = "long.example"
	sealedName = "sealed.example"
)

// way is what the client says of its connections of one kind.
type way struct {
	Connections, Messages int
	Failed                []string
}

// longLived is an origin of exchanges that take as long as the test wants.
type longLived struct {
	mu      sync.Mutex
	release chan struct{} // closed when what is slow may end
}

// finish lets what is slow end. What comes from now on waits for the next time,
// unless this is the last.
func (l *longLived) finish(last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.release)
	if !last {
		l.release = make(chan struct{})
	}
}

func (l *longLived) released() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.release
}

func (l *longLived) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/slow":
		l.slow(w, r)
	case "/ws":
		echoFrames(w)
	default:
		_, _ = io.WriteString(w, "well\n")
	}
}

// slow sends one half of what it has announced, and the other when it may.
func (l *longLived) slow(w http.ResponseWriter, r *http.Request) {
	half := strings.Repeat("half", 64<<10)
	released := l.released()
	w.Header().Set("Content-Length", strconv.Itoa(2*len(half)))
	_, _ = io.WriteString(w, half)
	_ = http.NewResponseController(w).Flush()
	select {
	case <-released:
		_, _ = io.WriteString(w, half)
	case <-r.Context().Done():
	}
}

// echoFrames turns the small frames of the client, which it masks by nothing, into
// those of a server.
func echoFrames(w http.ResponseWriter) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, err = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n")
	frame := make([]byte, 6+len("still here"))
	for err == nil {
		if _, err = io.ReadFull(rw, frame); err == nil {
			_, err = c.Write(append([]byte{frame[0], frame[1] &^ 0x80}, frame[6:]...))
		}
	}
}

// longLived starts the origins that the client `stay` wants.
func (w *world) longLived() *longLived {
	w.t.Helper()
	l := &longLived{release: make(chan struct{})}
	tomorrow := time.Now().Add(24 * time.Hour)
	w.hosts(longName, "198.51.100.83")
	server := &http.Server{Handler: l, ErrorLog: log.New(io.Discard, "", 0), TLSConfig: &tls.Config{Certificates: []tls.Certificate{w.certify(longName, tomorrow, false)}}}
	ln := w.listen("198.51.100.83:443")
	go server.ServeTLS(ln, "", "")
	w.hosts(sealedName, "198.51.100.84")
	sealed := tls.NewListener(w.listen("198.51.100.84:443"), &tls.Config{Certificates: []tls.Certificate{w.certify(sealedName, tomorrow, false)}})
	go func() {
		for {
			c, err := sealed.Accept()
			if err != nil {
				return
			}
			go func(c net.Conn) { defer c.Close(); _, _ = io.Copy(c, c) }(c)
		}
	}()
	w.t.Cleanup(func() { server.Close(); sealed.Close() })
	return l
}

// ways asks the client how its connections are.
func (w *world) ways(p *process) map[string]way {
	w.t.Helper()
	said := len(p.stdout.String())
	p.say("")
	w.await("an answer", func() bool { return strings.HasSuffix(p.stdout.String()[said:], "\n") })
	var ways map[string]way
	must(w.t, json.Unmarshal([]byte(p.stdout.String()[said:]), &ways))
	for kind, now := range ways {
		if len(now.Failed) > 0 {
			w.t.Fatalf("%s: %q\ndaemon log: %s", kind, now.Failed, w.read("daemon.log"))
		}
	}
	return ways
}

// Connections that stand are harmed neither by an upgrade nor by a restart. What is
// under way goes on and ends in full, also where it takes longer than the next
// daemon needs to come up; what could go on for ever goes on until the time to drain
// is over, and is then told so. Each end is one that its protocol knows, and the
// next connection of the kind is served at once.
func TestSystemStay(t *testing.T) {
	w := newWorld(t)
	s := w.standard()
	s.prefix = "drain: 2s"
	s.extra = "- {name: long, to: {host: " + longName + "}, action: intercept, upstream: {ca: partner/ca.pem}}\n"
	w.configure(s)
	origin := w.longLived()
	m := newManager(w)
	d := m.launch(program("outwarden"))
	w.await("the sockets are stored", func() bool { return m.count() == len(w.status().Capture.Listeners)+1 })
	p := w.begin(w.work, "env", w.trusting(), "SSL_CERT_DIR="+w.path("partner"), program("client"), "stay", longName, sealedName)
	stays := &stays{w, p, 1}
	stays.opened()

	if r := w.outwarden("upgrade"); r.code != 0 {
		t.Fatalf("upgrade: %v\n%s", r, w.read("daemon.log"))
	}
	stays.outlast("upgrade")
	origin.finish(false)
	if code := d.end(); code != 0 {
		t.Errorf("the first daemon ended with %d", code)
	}
	stays.opened()

	second := w.status()
	must(t, syscall.Kill(second.PID, syscall.SIGTERM))
	w.await("the daemon drains", func() bool { return m.heard("STOPPING=1") })
	stays.outlast("restart")
	origin.finish(true) // who comes while a daemon drains has only what is left of the time
	w.end(second)
	d = m.launch(program("outwarden"))
	stays.opened()
	t.Logf("%+v", w.ways(p))
	d.stop()
	sound(t, w.read("daemon.log"))
}

// stays is what a test knows of the connections of a client.
type stays struct {
	w          *world
	client     *process
	generation int // of connections, one for each daemon
}

// opened waits until each connection of this generation has been answered.
func (s *stays) opened() {
	s.w.t.Helper()
	s.w.await("each connection is open", func() bool {
		for _, way := range s.w.ways(s.client) {
			if way.Connections < s.generation {
				return false
			}
		}
		return true
	})
}

// outlast shows that what has no end goes on while a daemon drains. The next
// connections are of another generation.
func (s *stays) outlast(what string) {
	s.w.t.Helper()
	before := s.w.ways(s.client)
	s.w.await("it goes on beside "+what, func() bool {
		now := s.w.ways(s.client)
		for _, kind := range []string{"websocket", "sealed"} {
			if now[kind].Connections != s.generation {
				s.w.t.Fatalf("%s: %s ended before its time", what, kind)
			}
			if now[kind].Messages < before[kind].Messages+10 {
				return false
			}
		}
		return true
	})
	s.generation++
}
