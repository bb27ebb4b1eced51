package relay_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/relay"
)

// TestClose resets what is under way, and what comes later.
func TestClose(t *testing.T) {
	w := newWorld(t)
	connected := w.connect("")
	_, err := connected.workload.Write([]byte("x"))
	must(t, err)
	_, err = io.ReadFull(connected.server, make([]byte, 1))
	must(t, err)
	w.relay.Close()
	wantBroken(t, connected.workload)
	wantBroken(t, connected.server)
	if r := <-connected.result; !errors.Is(r.Err, relay.ErrClosed) || !r.Connected || r.Sent != 1 {
		t.Errorf("%+v", r)
	}
	late := w.connect("")
	wantBroken(t, late.workload)
	wantBroken(t, late.server)
	if r := <-late.result; !errors.Is(r.Err, relay.ErrClosed) {
		t.Errorf("%+v", r)
	}
	w.relay.Close() // again
}

// TestMany carries thousands of connections at once and holds nothing while they
// are silent.
func TestMany(t *testing.T) {
	many := 10000
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	limit.Cur = limit.Max
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	many = min(many, (int(limit.Max)-100)/4)
	w := newWorld(t)
	pairs := make([]*pair, many)
	for i := range pairs {
		pairs[i] = w.connect("x")
	}
	before := open(t)
	b := make([]byte, 32<<10)
	for _, p := range pairs {
		must(t, p.workload.SetDeadline(time.Now().Add(patience)))
		must(t, p.server.SetDeadline(time.Now().Add(patience)))
		_, err := p.server.Write(b)
		must(t, err)
	}
	for _, p := range pairs {
		_, err := io.ReadFull(p.workload, b)
		must(t, err)
		_, err = io.ReadFull(p.server, b[:1])
		must(t, err)
	}
	if n := open(t); n > before+200 { // spare pipes
		t.Errorf("%d descriptors for %d connections, %d before they spoke", n, many, before)
	}
	for _, p := range pairs {
		must(t, p.workload.Close())
		must(t, p.server.Close())
	}
	for _, p := range pairs {
		p.want(t, 1, 32<<10)
	}
}
