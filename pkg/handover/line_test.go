package handover

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
	for what, c := range map[string]struct {
		answer func(*line) error
		gone   bool
		fails  string
	}{
		"it answers":         {func(l *line) error { return l.send(&message{Step: stepYours}) }, false, ""},
		"it ends":            {func(l *line) error { return l.conn.Close() }, true, ""},
		"it ends in a word":  {func(l *line) error { _, err := l.conn.Write([]byte(`{"st`)); l.close(); return err }, true, ""},
		"it refuses":         {func(l *line) error { err := l.send(&message{Failed: "no"}); l.close(); return err }, false, "no"},
		"it says other than": {func(l *line) error { return l.send(&message{Step: stepLeaving}) }, false, "was due"},
	} {
		ours, theirs := lines(t)
		p := &Predecessor{ours}
		if err := c.answer(theirs); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		err := p.Ready()
		if c.gone != errors.Is(err, ErrGone) {
			t.Errorf("%s: %v", what, err)
		}
		if !c.gone && ((err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Who says nothing from the start is waited for only so long.
func TestSilence(t *testing.T) {
	ours, _ := lines(t)
	if _, err := ours.receive(time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}
