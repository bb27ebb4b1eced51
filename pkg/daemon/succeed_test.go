package daemon

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/outwarden/outwarden/pkg/audit"
)

// lines are both ends of one.
func lines(t *testing.T) (ours, theirs *line) {
	t.Helper()
	name := &net.UnixAddr{Net: "unix", Name: filepath.Join(t.TempDir(), "handover.sock")}
	l, err := net.ListenUnix("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.DialUnix("unix", nil, name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs = newLine(a), newLine(b)
	t.Cleanup(func() { ours.close(); theirs.close() })
	return ours, theirs
}

// A daemon that ends while it is relieved owes no step any more; one that refuses
// is obeyed.
func TestExchange(t *testing.T) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	for what, c := range map[string]struct {
		answer func(*line) error
		fails  string
	}{
		"it answers":         {func(l *line) error { return l.send(&message{Step: stepYours}) }, ""},
		"it ends":            {func(l *line) error { return l.conn.Close() }, ""},
		"it ends in a word":  {func(l *line) error { _, err := l.conn.Write([]byte(`{"st`)); l.close(); return err }, ""},
		"it refuses":         {func(l *line) error { err := l.send(&message{Failed: "no"}); l.close(); return err }, "no"},
		"it says other than": {func(l *line) error { return l.send(&message{Step: stepLeaving}) }, "was due"},
	} {
		ours, theirs := lines(t)
		d := &Daemon{o: Options{Log: log}, precursor: ours}
		if err := c.answer(theirs); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		err := d.exchange(stepReady, stepYours)
		if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The trail is waited for while a daemon before us may be about to end, and by
// nobody else.
func TestTakeTrail(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	held, err := audit.Open(dir, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := new(Daemon).takeTrail(dir, audit.Options{}); err == nil {
		t.Error("two have it")
	}
	ours, _ := lines(t)
	d := &Daemon{precursor: ours}
	closed := make(chan error, 1)
	go func() { closed <- held.Close() }()
	got, err := d.takeTrail(dir, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := got.Close(); err != nil {
		t.Error(err)
	}
}
