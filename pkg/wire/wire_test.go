package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pair is a connection and its peer.
func pair(t *testing.T) (*Conn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	peer, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	accepted, err := l.Accept()
	must(t, err)
	c, err := New(accepted.(*net.TCPConn))
	must(t, err)
	t.Cleanup(func() { _, _ = c.Close(), peer.Close() })
	limit := time.Now().Add(20 * time.Second)
	must(t, errors.Join(c.SetDeadline(limit), peer.SetDeadline(limit)))
	return c, peer.(*net.TCPConn)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// relay copies as a proxy does, until from ends.
func relay(from, to *Conn) error {
	from.Feed(to)
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, 16<<10))
	return errors.Join(err, from.Starve(), to.CloseWrite())
}

// TestFeedKeepsBytes relays much more than a piece, cut in any way.
func TestFeedKeepsBytes(t *testing.T) {
	from, source := pair(t)
	to, sink := pair(t)
	done := make(chan error, 1)
	go func() { done <- relay(from, to) }()
	sent := make([]byte, 3<<20)
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	go func() {
		for rest := sent; len(rest) > 0; {
			n := min(len(rest), 1+rand.IntN(200<<10))
			if _, err := source.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
		_ = source.CloseWrite()
	}()
	got, err := io.ReadAll(sink)
	must(t, errors.Join(err, <-done))
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes arrived of %d, or others", len(got), len(sent))
	}
}

// TestNothingIsHeld passes events on one by one: each must arrive before the next
// is sent.
func TestNothingIsHeld(t *testing.T) {
	from, source := pair(t)
	to, sink := pair(t)
	done := make(chan error, 1)
	go func() { done <- relay(from, to) }()
	got := make([]byte, 5)
	for range 50 {
		_, err := source.Write([]byte("event"))
		must(t, err)
		_, err = io.ReadFull(sink, got)
		must(t, err)
	}
	must(t, source.CloseWrite())
	must(t, <-done)
}

// TestGathersUntilDry writes while the input has more, and sees it leave when the
// input is waited for.
func TestGathersUntilDry(t *testing.T) {
	from, source := pair(t)
	to, sink := pair(t)
	_, err := source.Write([]byte("twice"))
	must(t, err)
	from.Feed(to)
	first := make([]byte, 1)
	_, err = io.ReadFull(from, first)
	must(t, err)
	for range 3 {
		_, err = to.Write([]byte("piece "))
		must(t, err)
	}
	if got := string(to.out.buf); got != "piece piece piece " {
		t.Fatalf("gathered %q", got)
	}
	must(t, sink.SetReadDeadline(time.Now().Add(20*time.Second)))
	go func() { _, _ = io.Copy(io.Discard, from) }() // takes the rest, then waits
	got := make([]byte, 18)
	_, err = io.ReadFull(sink, got)
	must(t, err)
	must(t, source.Close())
}

// TestMessageLeavesFirst sees a small message leave though more has come.
func TestMessageLeavesFirst(t *testing.T) {
	from, source := pair(t)
	to, sink := pair(t)
	from.Feed(to)
	buf := make([]byte, 5)
	for range 3 {
		_, err := source.Write([]byte("event"))
		must(t, err)
		_, err = io.ReadFull(from, buf)
		must(t, err)
		_, err = to.Write(buf)
		must(t, err)
	}
	got := make([]byte, 10)
	_, err := io.ReadFull(sink, got) // from waits for nothing yet
	must(t, err)
	if string(got) != "eventevent" {
		t.Errorf("got %q", got)
	}
	must(t, from.Starve())
}

// TestWritesWait fills the socket: what it took counts, and the deadline ends the
// wait for room.
func TestWritesWait(t *testing.T) {
	c, peer := pair(t)
	sent := bytes.Repeat([]byte("0123456789"), 4<<20)
	type result struct {
		n   int
		err error
	}
	done := make(chan result)
	go func() {
		n, err := c.Write(sent)
		done <- result{n, err}
	}()
	got := make([]byte, 1)
	_, err := io.ReadFull(peer, got)
	must(t, err)
	must(t, c.SetWriteDeadline(time.Unix(1, 0)))
	r := <-done
	if !errors.Is(r.err, os.ErrDeadlineExceeded) || r.n == 0 || r.n == len(sent) {
		t.Fatalf("%d bytes written: %v", r.n, r.err)
	}
	must(t, c.CloseWrite())
	rest, err := io.ReadAll(peer)
	must(t, err)
	if got = append(got, rest...); !bytes.Equal(got, sent[:r.n]) {
		t.Errorf("%d bytes arrived of %d, or others", len(got), r.n)
	}
}

// TestReadsWait is the same of a Read that nothing comes for, and of one that is
// closed under its reader.
func TestReadsWait(t *testing.T) {
	c, _ := pair(t)
	must(t, c.SetReadDeadline(time.Now().Add(time.Millisecond)))
	if n, err := c.Read(make([]byte, 8)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes: %v", n, err)
	}
	must(t, c.SetReadDeadline(time.Time{}))
	done := make(chan error)
	go func() {
		_, err := c.Read(make([]byte, 8))
		done <- err
	}()
	must(t, c.Close())
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: %v", err)
	}
}

// TestStarveSendsAndKeeps ends a feed with something on either side.
func TestStarveSendsAndKeeps(t *testing.T) {
	from, source := pair(t)
	to, sink := pair(t)
	_, err := source.Write([]byte("content and next"))
	must(t, err)
	from.Feed(to)
	buf := make([]byte, 7)
	_, err = io.ReadFull(from, buf)
	must(t, err)
	_, err = to.Write(buf)
	must(t, err)
	must(t, from.Starve())
	_, err = io.ReadFull(sink, buf)
	must(t, err)
	if string(buf) != "content" {
		t.Errorf("got %q", buf)
	}
	if from.Silent() {
		t.Error("silent, with bytes that were read ahead")
	}
	if cap(from.ahead) >= pieceSize {
		t.Errorf("%d bytes are kept in a piece of %d", len(from.ahead), cap(from.ahead))
	}
	rest := make([]byte, 9)
	_, err = io.ReadFull(from, rest)
	must(t, err)
	if string(rest) != " and next" || !from.Silent() {
		t.Errorf("got %q; silent: %v", rest, from.Silent())
	}
	_, err = to.Write([]byte("now")) // no longer gathered
	must(t, err)
	_, err = io.ReadFull(sink, buf[:3])
	must(t, err)
}

// TestBrokenOutputEndsTheRead lets the peer of the output reset: the reader must not
// wait for input that can no longer go anywhere.
func TestBrokenOutputEndsTheRead(t *testing.T) {
	from, _ := pair(t)
	to, sink := pair(t)
	must(t, sink.SetLinger(0))
	must(t, sink.Close())
	for to.HungUp() == false {
		time.Sleep(time.Millisecond)
	}
	from.Feed(to)
	_, err := to.Write([]byte("lost"))
	must(t, err)
	if _, err := from.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("read: %v", err)
	}
	if err := from.Starve(); err == nil {
		t.Error("what never left is not reported")
	}
	if _, err := to.Write([]byte("more")); err == nil {
		t.Error("written behind a gap")
	}
}

func TestSilent(t *testing.T) {
	c, peer := pair(t)
	if !c.Silent() || c.HungUp() {
		t.Error("a new connection is not silent")
	}
	_, err := peer.Write([]byte("x"))
	must(t, err)
	for c.Silent() {
		time.Sleep(time.Millisecond)
	}
	if c.HungUp() {
		t.Error("hung up, but it only spoke")
	}
	must(t, peer.CloseWrite())
	for !c.HungUp() {
		time.Sleep(time.Millisecond)
	}
}

// TestRecordsFollow cuts records everywhere: only one that ends just where a Read
// does leaves nothing behind.
func TestRecordsFollow(t *testing.T) {
	record := []byte{23, 3, 3, 0, 4, 1, 2, 3, 4}
	two := append(bytes.Clone(record), record...)
	for cut := 1; cut < len(two); cut++ {
		var r records
		r.follow(two[:cut])
		if want := cut != len(record); r.slack != want {
			t.Errorf("after %d bytes: slack %v", cut, r.slack)
		}
		r.follow(two[cut:])
		if want := cut < len(record); r.slack != want {
			t.Errorf("after %d and the rest: slack %v", cut, r.slack)
		}
	}
}

// TestHold writes twice with a Read between: both leave at once, unless the Read
// had to wait.
func TestHold(t *testing.T) {
	c, peer := pair(t)
	_, err := peer.Write([]byte("ab"))
	must(t, err)
	c.Hold()
	_, err = c.Write([]byte("first "))
	must(t, err)
	b := make([]byte, 1)
	_, err = io.ReadFull(c, b)
	must(t, err)
	if got := string(c.out.buf); got != "first " {
		t.Fatalf("held %q, though nobody waited", got)
	}
	_, err = c.Write([]byte("second"))
	must(t, err)
	must(t, c.Release())
	got := make([]byte, 12)
	_, err = io.ReadFull(peer, got)
	must(t, err)

	c.Hold()
	_, err = c.Write([]byte("before the wait"))
	must(t, err)
	_, err = io.ReadFull(c, b)
	must(t, err)
	waits := make(chan error, 1)
	go func() { _, err := io.ReadFull(c, b); waits <- err }()
	got = make([]byte, 15)
	_, err = io.ReadFull(peer, got)
	must(t, err)
	_, err = peer.Write([]byte("c"))
	must(t, errors.Join(err, <-waits))
	_, err = c.Write([]byte("now"))
	must(t, err)
	_, err = io.ReadFull(peer, got[:3])
	must(t, err)
}

// TestPatience sets a deadline only where there is none, too little of it left, or
// more than was asked for.
func TestPatience(t *testing.T) {
	var u until
	first, due := u.due(time.Hour)
	if left := time.Until(first); !due || left < 59*time.Minute || left > time.Hour {
		t.Fatalf("%v left; due: %v", left, due)
	}
	for left, want := range map[time.Duration]bool{
		50 * time.Minute: false, 31 * time.Minute: false, 29 * time.Minute: true, 2 * time.Hour: true, -time.Hour: true,
	} {
		u.set(time.Now().Add(left))
		if _, due := u.due(time.Hour); due != want {
			t.Errorf("%v left: due %v", left, due)
		}
	}
	u.set(time.Unix(1, 0)) // of the wall clock alone
	if _, due := u.due(time.Hour); !due {
		t.Error("a deadline in the past stands")
	}
	u.set(time.Time{})
	if _, due := u.due(time.Hour); !due {
		t.Error("no deadline is not set")
	}
}
