package proxy_test

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/policy"
)

// Workloads, by cgroup.
const (
	noisy = 1
	calm  = 2
)

// halfHello is what a workload says that means to say more.
const halfHello = "\x16\x03\x01\x01\x00\x01\x00"

// TestNoisyWorkload is H4: who opens ten times what there is room for gets half
// of it, and the others never notice.
func TestNoisyWorkload(t *testing.T) {
	const room, half = 40, 20
	w := newWorld(t, func(o *options) { o.MaxConns, o.Timeouts.Hello = room, time.Minute })
	o := w.originFor(nil, host)
	w.use(policy.Intercept, w.openRoute())
	var held []net.Conn
	for range 10 * room {
		c, err := w.tryDial(as{cgroup: noisy, original: o.addr})
		if err != nil {
			continue // refused while it looked
		}
		_, _ = io.WriteString(c, halfHello)
		held = append(held, c)
	}
	for _, r := range w.awaitKind("connection", 10*room-half) {
		if r.Reason != "connection_limit" || r.Decision != "deny" || r.Process == nil || r.Process.PID != appPID {
			t.Fatalf("record %+v", r)
		}
	}
	if n := w.proxy.Stats().Limited.Load(); n != 10*room-half {
		t.Errorf("%d limited, want %d", n, 10*room-half)
	}
	var others sync.WaitGroup
	for range half / 2 {
		others.Go(func() { w.served(t, as{cgroup: calm, original: o.addr}) })
	}
	others.Wait()
	for _, c := range held {
		_ = c.Close()
	}
	w.quiet()
	w.served(t, as{cgroup: noisy, original: o.addr})
}

// served makes one request, all the way.
func (w *world) served(t *testing.T, who as) {
	t.Helper()
	c, err := w.tryTLS(who, host)
	if err != nil {
		t.Error(err)
		return
	}
	if got := talk(t, c, plainGet); got != okResponse {
		t.Errorf("answer %q", got)
	}
}

// TestHandshakesTakeTurns: a workload that stalls its handshakes waits for
// itself, and for nobody else.
func TestHandshakesTakeTurns(t *testing.T) {
	const turns = 4
	w := newWorld(t, func(o *options) { o.MaxTurns, o.Timeouts.Hello = turns, time.Minute })
	o := w.originFor(nil, host)
	w.use(policy.Intercept, w.openRoute())
	w.served(t, as{original: o.addr}) // from now on what the upstream speaks is known
	var began []*stalled
	for range turns {
		c := w.stall(as{cgroup: noisy, original: o.addr})
		<-c.answered
		began = append(began, c)
	}
	late := w.stall(as{cgroup: noisy, original: o.addr})
	w.served(t, as{cgroup: calm, original: o.addr})
	select {
	case <-late.answered:
		t.Error("one more handshake began than there are turns")
	default:
	}
	close(began[0].resume)
	<-late.answered
	for _, c := range append(began[1:], late) {
		close(c.resume)
		if err := <-c.done; err != nil {
			t.Error(err)
		}
	}
}

// stalled is a workload that stops reading in the middle of its handshake.
type stalled struct {
	net.Conn
	answered, resume chan struct{}
	done             chan error
	once             sync.Once
}

func (w *world) stall(who as) *stalled {
	w.t.Helper()
	s := &stalled{Conn: w.dial(who), answered: make(chan struct{}), resume: make(chan struct{}), done: make(chan error, 1)}
	go func() { s.done <- tls.Client(s, &tls.Config{ServerName: host, RootCAs: w.roots()}).Handshake() }()
	return s
}

func (s *stalled) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.once.Do(func() {
		close(s.answered)
		<-s.resume
	})
	return n, err
}
