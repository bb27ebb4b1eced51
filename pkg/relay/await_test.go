package relay_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/relay"
)

// judge sends those to the world's server that say "go", and takes the rest back.
type judge struct {
	w       *world
	to      netip.AddrPort
	connect time.Duration
	left    chan leaving
	over    chan relay.Result
}

type leaving struct {
	socket int
	said   string
}

func newJudge(w *world) *judge {
	return &judge{w, addrOf(w.server), patience, make(chan leaving, 1), make(chan relay.Result, 1)}
}

func (j *judge) Heard(said []byte) (far int, ok bool) {
	if !bytes.HasPrefix(said, []byte("go")) {
		return 0, false
	}
	far, err := relay.Dial(netip.Addr{}, j.to, true, nil)
	return far, err == nil
}

func (j *judge) Left(near int, said []byte) { j.left <- leaving{near, string(said)} }
func (j *judge) Over(r relay.Result)        { j.over <- r }

// await has a connection that comes in by a door judged.
func (j *judge) await(silence time.Duration) *net.TCPConn {
	t := j.w.t
	t.Helper()
	door, err := j.w.relay.Open(j.w.front)
	must(t, err)
	defer door.Close()
	c, err := net.Dial("tcp", j.w.front.Addr().String())
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	must(t, c.SetDeadline(time.Now().Add(patience)))
	a := accept(t, door)
	if a.Remote != c.LocalAddr().(*net.TCPAddr).AddrPort() || a.Local != addrOf(j.w.front) {
		t.Errorf("accepted %v at %v", a.Remote, a.Local)
	}
	must(t, j.w.relay.Await(a.Socket, silence, j.connect, j))
	return c.(*net.TCPConn)
}

// TestAwaitCarries: what was judged by goes first, and the rest follows.
func TestAwaitCarries(t *testing.T) {
	w := newWorld(t)
	j := newJudge(w)
	c := j.await(patience)
	_, err := io.WriteString(c, "go")
	must(t, err)
	server, err := w.server.AcceptTCP()
	must(t, err)
	must(t, server.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(c, " on")
	must(t, err)
	must(t, c.CloseWrite())
	if got, err := io.ReadAll(server); string(got) != "go on" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	_, err = io.WriteString(server, "there")
	must(t, err)
	must(t, server.Close())
	if got, err := io.ReadAll(c); string(got) != "there" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if r := <-j.over; r.Err != nil || !r.Connected || r.Sent != 5 || r.Received != 5 {
		t.Errorf("%+v", r)
	}
}

// TestAwaitCarriesAll: also what comes at once, with more than one read and the end.
func TestAwaitCarriesAll(t *testing.T) {
	for _, n := range []int{0, 3 << 20} {
		w := newWorld(t)
		j := newJudge(w)
		c := j.await(patience)
		all := append([]byte("go"), noise(n)...)
		sent := make(chan error, 1)
		go func() {
			_, err := c.Write(all)
			sent <- errors.Join(err, c.CloseWrite())
		}()
		server, err := w.server.AcceptTCP()
		must(t, err)
		must(t, server.SetDeadline(time.Now().Add(patience)))
		if got, err := io.ReadAll(server); !bytes.Equal(got, all) || err != nil {
			t.Errorf("%d bytes of %d, %v", len(got), len(all), err)
		}
		must(t, <-sent)
		must(t, server.Close())
		if r := <-j.over; r.Err != nil || r.Sent != int64(len(all)) {
			t.Errorf("%+v", r)
		}
	}
}

// TestAwaitNoAnswer: the far end has its time to connect, after the near one has spoken.
func TestAwaitNoAnswer(t *testing.T) {
	w := newWorld(t)
	j := newJudge(w)
	to, full := silentServer(t)
	defer full()
	j.to, j.connect = to, 100*time.Millisecond
	c := j.await(patience)
	_, err := io.WriteString(c, "go")
	must(t, err)
	if r := <-j.over; !errors.Is(r.Err, os.ErrDeadlineExceeded) || r.Connected || r.Sent > 0 {
		t.Errorf("%+v", r)
	}
	wantBroken(t, c)
}

// TestAwaitLeaves: who says something else, nothing for too long, or goes, is given
// back with what was read, and works as it did.
func TestAwaitLeaves(t *testing.T) {
	for name, f := range map[string]struct {
		say  func(c *net.TCPConn) error
		said string
	}{
		"else":   {func(c *net.TCPConn) error { _, err := io.WriteString(c, "stay"); return err }, "stay"},
		"silent": {func(*net.TCPConn) error { return nil }, ""},
		"gone":   {(*net.TCPConn).CloseWrite, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			j := newJudge(w)
			silence := patience
			if name == "silent" {
				silence = 20 * time.Millisecond
			}
			c := j.await(silence)
			must(t, f.say(c))
			l := <-j.left
			if l.said != f.said {
				t.Errorf("%q was said, want %q", l.said, f.said)
			}
			relay.End{Socket: l.socket}.Reset()
			wantBroken(t, c)
		})
	}
}

// TestAwaitAtClose: who is waited for is reset, and who comes later is refused.
func TestAwaitAtClose(t *testing.T) {
	w := newWorld(t)
	j := newJudge(w)
	c := j.await(patience)
	w.relay.Close()
	wantBroken(t, c)
	if r := <-j.over; !errors.Is(r.Err, relay.ErrClosed) || r.Connected {
		t.Errorf("%+v", r)
	}
	if err := w.relay.Await(-1, patience, patience, j); !errors.Is(err, relay.ErrClosed) {
		t.Errorf("%v, want closed", err)
	}
}

// ear is a judge that tells when it was asked.
type ear struct {
	*judge
	asked chan struct{}
}

func (e ear) Heard(said []byte) (far int, ok bool) {
	defer close(e.asked)
	return e.judge.Heard(said)
}

// TestAwaitInTheLastMoment: who speaks just as the time to speak is over is carried, or
// given back; where it is carried, the far end has its own time to connect.
func TestAwaitInTheLastMoment(t *testing.T) {
	const silence = 3 * time.Millisecond
	w := newWorld(t)
	to, full := silentServer(t)
	defer full()
	door, err := w.relay.Open(w.front)
	must(t, err)
	defer door.Close()
	carried := 0
	for i := range 200 {
		e := ear{newJudge(w), make(chan struct{})}
		e.to = to
		c, err := net.Dial("tcp", w.front.Addr().String())
		must(t, err)
		must(t, w.relay.Await(accept(t, door).Socket, silence, patience, e))
		until := time.Now().Add(silence - 150*time.Microsecond + time.Duration(i%40)*5*time.Microsecond)
		for time.Now().Before(until) { // a sleep is not as exact
		}
		_, _ = io.WriteString(c, "go")
		select {
		case l := <-e.left:
			relay.End{Socket: l.socket}.Reset()
		case <-e.asked:
			carried++
		}
		select {
		case r := <-e.over:
			t.Fatalf("in the %dth: %+v", i, r)
		case <-time.After(2 * time.Millisecond):
		}
		_ = c.Close()
	}
	if carried == 0 {
		t.Error("none was in time")
	}
}
