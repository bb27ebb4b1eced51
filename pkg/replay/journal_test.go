package replay

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRestart: what was accepted is refused by the next process, also when the
// last one was killed and its last record cut.
func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	c := open(t, options(path))
	for i := range 3 {
		if err := c.Accept(message(i), later, later); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(options(path)); !errors.Is(err, ErrJournal) {
		t.Fatalf("a second process: %v", err)
	}
	_ = c.journal.lock.Close() // as the kernel does for a process that is killed
	file := path + ".1"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b[:len(b)-5], 0o600); err != nil {
		t.Fatal(err)
	}
	o := options(path)
	o.Now = later
	c = open(t, o)
	for i := range 3 {
		if err := c.Accept(message(i), later, later); !errors.Is(err, ErrReplayed) {
			t.Errorf("message %d after a restart: %v", i, err)
		}
	}
	if err := c.Accept(message(3), later, later); err != nil {
		t.Errorf("a new one: %v", err)
	}
}

// TestJournalDamage: bytes that change in the middle are noticed; a journal that
// is gone lets nothing in that could have been seen.
func TestJournalDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	c := open(t, options(path))
	for i := range 3 {
		if err := c.Accept(message(i), later, later); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Accept(message(4), later, later); !errors.Is(err, ErrJournal) {
		t.Errorf("closed: %v", err)
	}
	b, err := os.ReadFile(path + ".1")
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(b) - recordSize {
		bad := append([]byte(nil), b...)
		bad[i] ^= 0x40
		if _, err := parseGeneration(bad); err == nil {
			t.Fatalf("byte %d changed: not noticed", i)
		}
	}
	if err := os.Remove(path + ".1"); err != nil {
		t.Fatal(err)
	}
	o := options(path)
	o.Now = later
	c = open(t, o)
	if err := c.Accept(message(0), later, later); !errors.Is(err, ErrStale) {
		t.Errorf("journal gone: %v", err)
	}
}

// A damaged journal, as a power cut leaves it, is put aside: nothing of its time is
// accepted again, and what comes after is.
func TestDamagedJournalIsBegunAnew(t *testing.T) {
	for what, damage := range map[string]func(b []byte) []byte{
		"zeros at the end": func(b []byte) []byte { return append(b, make([]byte, 3*recordSize)...) },
		"nothing":          func([]byte) []byte { return nil },
		"a broken head":    func(b []byte) []byte { b[9] ^= 1; return b },
		"a broken record":  func(b []byte) []byte { b[headSize] ^= 1; return b },
	} {
		path := filepath.Join(t.TempDir(), "j")
		c := open(t, options(path))
		for i := range 3 {
			if err := c.Accept(message(i), later, later); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path + ".1")
		if err != nil {
			t.Fatal(err)
		}
		wrote := later.Add(time.Minute)
		if err := errors.Join(os.WriteFile(path+".1", damage(b), 0o600), os.Chtimes(path+".1", wrote, wrote)); err != nil {
			t.Fatal(err)
		}
		o := options(path)
		o.Now = later // set back: it was a minute later
		c = open(t, o)
		if err := c.Damage(); !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), path+".1") {
			t.Errorf("%s: told %v", what, err)
		}
		if err := c.Accept(message(0), wrote, wrote); !errors.Is(err, ErrStale) {
			t.Errorf("%s: a message of its time: %v", what, err)
		}
		after := wrote.Add(o.Skew + time.Second)
		if err := errors.Join(c.Accept(message(5), after, after), c.Close()); err != nil {
			t.Errorf("%s: a new message: %v", what, err)
		}
		o.Now = after
		c = open(t, o)
		if err := c.Damage(); err != nil {
			t.Errorf("%s: and again: %v", what, err)
		}
		if err := c.Accept(message(5), after, after); !errors.Is(err, ErrReplayed) {
			t.Errorf("%s: seen since: %v", what, err)
		}
		if _, err := os.Stat(path + ".1.damaged"); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A clock that was hours ahead at boot, and was set back, is told from messages that are
// too old, over a restart too; what says no time is told apart by itself.
func TestClockSetBack(t *testing.T) {
	ahead := later.Add(2 * time.Hour)
	o := options(filepath.Join(t.TempDir(), "j"))
	o.Now = ahead.Add(-2 * time.Minute)
	untimed := func(n int) Message { m := message(n); m.Untimed = true; return m }
	c := open(t, o)
	if err := errors.Join(c.Accept(message(0), ahead, ahead), c.Accept(untimed(1), time.Time{}, ahead)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := c.SetBack(later); !got.Equal(ahead) {
			t.Errorf("set back until %v, want %v", got, ahead)
		}
		if err := c.Accept(message(2), later, later); !errors.Is(err, ErrSetBack) || errors.Is(err, ErrStale) {
			t.Errorf("a message of now: %v", err)
		}
		if err := c.Accept(message(3), later.Add(-time.Hour), later); !errors.Is(err, ErrStale) {
			t.Errorf("an old message: %v", err)
		}
		if err := c.Accept(message(0), ahead, later); !errors.Is(err, ErrReplayed) {
			t.Errorf("a message of before: %v", err)
		}
		if err := c.Accept(untimed(1), later, later); !errors.Is(err, ErrReplayed) {
			t.Errorf("a message of before without a time: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		o.Now = later
		c = open(t, o)
	}
	if err := c.Accept(untimed(4), later, later); err != nil {
		t.Errorf("a new message without a time: %v", err)
	}
	if err := c.Accept(message(5), ahead.Add(time.Second), ahead.Add(time.Second)); err != nil || !c.SetBack(ahead.Add(time.Second)).IsZero() {
		t.Errorf("once that time has come again: %v", err)
	}
}

// TestLostGeneration: one of two files gone counts as all gone.
func TestLostGeneration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	c := open(t, options(path))
	if err := c.Accept(message(0), later, later); err != nil {
		t.Fatal(err)
	}
	next := begin.Add(6*time.Minute + 1)
	if err := c.Accept(message(1), next, next); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path + ".1"); err != nil {
		t.Fatal(err)
	}
	o := options(path)
	o.Now = next
	c = open(t, o)
	if err := c.Accept(message(0), later, next); !errors.Is(err, ErrStale) {
		t.Errorf("seen by the lost generation: %v", err)
	}
}

func TestJournalUnwritable(t *testing.T) {
	if _, err := Open(options(filepath.Join(t.TempDir(), "none", "j"))); !errors.Is(err, ErrJournal) {
		t.Errorf("no directory: %v", err)
	}
	c := open(t, options(filepath.Join(t.TempDir(), "j")))
	_ = c.journal.file.Close() // every write fails from here
	for range 2 {
		if err := c.Accept(message(1), later, later); err == nil {
			t.Error("accepted without a record")
		}
	}
}

// TestDecode: one signature, one spelling.
func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		e  Encoding
		s  string
		ok bool
	}{
		{Hex, "00ff", true}, {Hex, "00FF", false}, {Hex, "0ff", false}, {Hex, "", false}, {Hex, "00 ff", false},
		{Base64, "AP8=", true}, {Base64, "AP8", false}, {Base64, "AP9=", false}, {Base64, "AP8=\n", false}, {Base64, "A\nP8=", false},
		{Base64, "_-8=", false}, {Base64, "AP8==", false},
		{Base64URL, "AP8", true}, {Base64URL, "AP8=", false}, {Base64URL, "AP9", false}, {Base64URL, "_-8", true}, {9, "00", false},
	} {
		b, err := Decode(tt.e, tt.s)
		if (err == nil) != tt.ok || err == nil && len(b) != 2 {
			t.Errorf("%d %q: %x, %v", tt.e, tt.s, b, err)
		}
	}
}

func FuzzJournal(f *testing.F) {
	b := appendRecord(appendHead(nil, begin, later, 1), mark{1}, begin)
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseGeneration(b)
		if err == nil && (s.size > int64(len(b)) || (s.size-headSize)/recordSize < int64(len(s.seen))) {
			t.Fatalf("%d bytes gave %d marks in %d bytes", len(b), len(s.seen), s.size)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(uint8(0), "00ff")
	f.Add(uint8(1), "AP8=")
	f.Fuzz(func(t *testing.T, e uint8, s string) {
		if b, err := Decode(Encoding(e), s); err == nil && len(b) == 0 {
			t.Fatalf("%q is nothing", s)
		}
	})
}

// TestWindowThatGrew: what was forgotten because it was too old is not new when a
// later process asks for less.
func TestWindowThatGrew(t *testing.T) {
	o := options(filepath.Join(t.TempDir(), "j"))
	c := open(t, o)
	for i := range 4 { // each in a generation of its own
		now := later.Add(time.Duration(i) * (o.Window + o.Skew + time.Second))
		if err := c.Accept(message(i), now, now); err != nil {
			t.Fatal(err)
		}
	}
	now := later.Add(4 * (o.Window + o.Skew + time.Second))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	o.Window, o.Now = time.Hour, now
	c = open(t, o)
	for i := range 4 {
		at := later.Add(time.Duration(i) * (5*time.Minute + o.Skew + time.Second))
		if err := c.Accept(message(i), at, now); err == nil {
			t.Errorf("message %d is accepted again", i)
		}
	}
	if err := c.Accept(message(5), now, now); err != nil {
		t.Errorf("a new one: %v", err)
	}
}
