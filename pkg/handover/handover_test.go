package handover

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/replay"
)

// running is a daemon that waits at its door.
type running struct {
	t    *testing.T
	path string
	door *Door
	come chan *Successor
	last chan error // why somebody was sent away
}

// run opens a door under terms.
func run(t *testing.T, ours Terms) *running {
	t.Helper()
	r := &running{t: t, path: filepath.Join(t.TempDir(), "handover.sock"), come: make(chan *Successor), last: make(chan error, 1)}
	door, err := OpenDoor(r.path, &Inherited{})
	must(t, err)
	r.door = door
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		door.Serve(ctx, func() (*Terms, error) { return &ours, nil }, r.come, func(err error) { r.last <- err })
	}()
	t.Cleanup(func() { stop(); <-done })
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// has is n listeners on loopback, a lock, and the door.
func (r *running) has(n int) (files *Files, addrs map[netip.AddrPort]bool) {
	r.t.Helper()
	files, addrs = &Files{}, map[netip.AddrPort]bool{}
	r.t.Cleanup(files.Close)
	lock, err := os.Create(filepath.Join(r.t.TempDir(), "lock"))
	must(r.t, err)
	defer lock.Close()
	must(r.t, files.AddDuplicate(KindLock, lock))
	must(r.t, files.Add(KindHandover, r.door.File))
	var plain net.ListenConfig
	plain.SetMultipathTCP(false)
	for range n {
		l, err := plain.Listen(r.t.Context(), "tcp", "127.0.0.1:0")
		must(r.t, err)
		defer l.Close()
		tcp := l.(*net.TCPListener)
		must(r.t, files.Add(KindListener, tcp.File))
		addrs[addrOf(tcp)] = true
	}
	return files, addrs
}

// book is a Keeper.
type book struct {
	records chan *audit.Record
	refuses error
}

func (b *book) Append(r *audit.Record) error                      { b.records <- r; return nil }
func (b *book) Accept(replay.Message, time.Time, time.Time) error { return b.refuses }

// TestHandOver: both sides, through all steps. More descriptors go over than one
// message carries, and afterwards the one that drains writes in the other's book.
func TestHandOver(t *testing.T) {
	r := run(t, Terms{Version: "1"})
	files, addrs := r.has(maxFiles + 10)
	steps := make(chan string, 8)
	heir := make(chan *Remote, 1)
	go func() {
		s := <-r.come
		steps <- "met " + s.Version
		if err := s.Offer(files); err != nil {
			s.Refuse(err)
			return
		}
		steps <- "duties left"
		remote, err := s.Yield(func() { steps <- "it serves" })
		if err != nil {
			s.Refuse(err)
			return
		}
		heir <- remote
	}()
	var got Inherited
	defer got.Close()
	p, err := Meet(r.path, &Terms{Version: "2"}, &got)
	must(t, err)
	defer p.Close()
	must(t, p.Ready())
	steps <- "duties taken up"
	must(t, p.Serving())
	for _, want := range []string{"met 2", "duties left", "duties taken up", "it serves"} {
		if step := <-steps; step != want {
			t.Errorf("%s, want %s", step, want)
		}
	}
	for a := range addrs {
		l := got.TakeListener(a)
		if l == nil {
			t.Fatalf("nothing stands on %v", a)
		}
		must(t, l.Close())
	}
	if lock := got.TakeLock(); lock == nil || lock.Close() != nil {
		t.Error("no lock")
	}
	next, err := OpenDoor(r.path, &got)
	must(t, err)
	must(t, next.Close())

	b := &book{make(chan *audit.Record, 1), replay.ErrReplayed}
	answered := make(chan error, 1)
	go func() { answered <- p.Answer(b) }()
	remote := <-heir
	must(t, remote.Append(&audit.Record{Kind: audit.KindRequest, Host: "api.example"}))
	if written := <-b.records; written.Host != "api.example" || written.Time.IsZero() {
		t.Errorf("%+v was written", written)
	}
	if err := remote.Accept(replay.Message{}, time.Now(), time.Now()); !errors.Is(err, replay.ErrReplayed) {
		t.Errorf("a signature that was seen: %v", err)
	}
	p.Close()
	must(t, <-answered)
	if err := remote.Append(&audit.Record{Kind: audit.KindRequest}); err == nil {
		t.Error("a record went nowhere, and nobody says so")
	}
}

// TestRefused: who has other terms hears why, and takes nothing.
func TestRefused(t *testing.T) {
	r := run(t, Terms{Fail: "closed"})
	var got Inherited
	defer got.Close()
	_, err := Meet(r.path, &Terms{Fail: "open"}, &got)
	if err == nil || !strings.Contains(err.Error(), "capture.fail is closed") {
		t.Errorf("the successor hears %v", err)
	}
	if told := <-r.last; told.Error() != err.Error() {
		t.Errorf("the daemon that runs says %v", told)
	}
}

// TestGone: where none runs, or one ends before it gave all, a start is one like
// any other, without the lock of the other.
func TestGone(t *testing.T) {
	p, err := Meet(filepath.Join(t.TempDir(), "none"), &Terms{}, &Inherited{})
	if p != nil || err != nil {
		t.Errorf("where none runs: %v, %v", p, err)
	}
	r := run(t, Terms{})
	files, _ := r.has(1)
	go func() {
		s := <-r.come
		_ = s.line.send(&message{Descriptors: files.kinds, files: files.files, More: true})
		s.Close()
	}()
	var got Inherited
	defer got.Close()
	if _, err := Meet(r.path, &Terms{}, &got); !errors.Is(err, ErrGone) {
		t.Errorf("one that ends: %v", err)
	}
	if got.TakeLock() != nil {
		t.Error("its lock is kept")
	}
}

// TestRegain: a successor that fails with our duties leaves us the control socket
// that it was offered.
func TestRegain(t *testing.T) {
	r := run(t, Terms{})
	files, _ := r.has(1)
	socket, err := os.Create(filepath.Join(t.TempDir(), "control"))
	must(t, err)
	defer socket.Close()
	must(t, files.AddDuplicate(KindControl, socket))
	failed := make(chan error, 1)
	go func() {
		s := <-r.come
		err := s.Offer(files)
		if err == nil {
			_, err = s.Yield(func() { t.Error("it serves") })
		}
		s.End(err)
		s.Refuse(err)
		failed <- err
	}()
	var got Inherited
	p, err := Meet(r.path, &Terms{}, &got)
	must(t, err)
	must(t, p.Ready())
	p.Fail(errors.New("no room"))
	p.Close()
	got.Close()
	if err := <-failed; err == nil || err.Error() != "no room" {
		t.Errorf("the daemon that runs hears %v", err)
	}
	var ours Inherited
	ours.Regain(files)
	back := ours.TakeControl()
	if back == nil {
		t.Fatal("it has no control socket any more")
	}
	files.Close()
	if _, err := back.Stat(); err != nil {
		t.Errorf("it is closed: %v", err)
	}
	must(t, back.Close())
}
