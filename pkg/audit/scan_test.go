package audit

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReadWritten: what is read of a segment is all that anybody wrote to it, by a
// mapping or not, on disk or not, and behind a gap too.
func TestReadWritten(t *testing.T) {
	const size = 4 << 20
	for name, write := range map[string]func(f *os.File, data []byte) error{
		"nothing":     func(*os.File, []byte) error { return nil },
		"a beginning": func(f *os.File, _ []byte) error { _, err := f.WriteAt([]byte("one"), 0); return err },
		"on disk": func(f *os.File, _ []byte) error {
			_, err := f.WriteAt([]byte("one"), 0)
			return errors.Join(err, f.Sync())
		},
		"mapped": func(_ *os.File, data []byte) error { copy(data, "one"); return nil },
		"behind a gap": func(f *os.File, data []byte) error {
			_, err := f.WriteAt([]byte("one"), 0)
			copy(data[size/2:], "two")
			return err
		},
		"the last byte": func(_ *os.File, data []byte) error { data[size-1] = 1; return nil },
		"given back": func(_ *os.File, data []byte) error {
			copy(data[size/4:], "one")
			return unix.Madvise(data, unix.MADV_DONTNEED)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := segment{segmentFile: segmentFile{dir: t.TempDir(), first: 1}}
			var err error
			if s.file, err = os.Create(s.path()); err != nil {
				t.Fatal(err)
			}
			defer s.file.Close()
			if err := s.reserve(size); err != nil {
				t.Fatal(err)
			}
			if err := write(s.file, s.data); err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(s.path())
			if err != nil {
				t.Fatal(err)
			}
			got, err := readWritten(s.path())
			if err != nil || !bytes.Equal(bytes.TrimRight(got, "\x00"), bytes.TrimRight(want, "\x00")) {
				t.Errorf("%d bytes, %v; want those that end in %q", len(got), err, last(want))
			}
			if err := s.unmap(); err != nil {
				t.Fatal(err)
			}
		})
	}
	if _, err := readWritten(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestReadGap: a page that was read before it was written, while the one behind it
// was read afterwards, is read again; a gap that is there stays.
func TestReadGap(t *testing.T) {
	for name, c := range map[string]struct{ read, there, want string }{
		"whole":            {"{one}\n{two}\n", "", "{one}\n{two}\n"},
		"room behind":      {"{one}\n\x00\x00", "", "{one}\n\x00\x00"},
		"written since":    {"{one}\n\x00\x00wo}\n\x00", "{one}\n{two}\n{", "{one}\n{two}\n\x00"},
		"half a record":    {"{on\x00\x00\x00{two}\n", "{one}\n{two}\n", "{one}\n{two}\n"},
		"a gap that stays": {"{one}\n\x00\x00wo}\n", "{one}\n\x00\x00wo}\n", "{one}\n\x00\x00wo}\n"},
	} {
		data := []byte(c.read)
		if err := readGap(strings.NewReader(c.there), data); err != nil || string(data) != c.want {
			t.Errorf("%s: %q, %v; want %q", name, data, err, c.want)
		}
	}
}

func last(b []byte) []byte {
	b = bytes.TrimRight(b, "\x00")
	return b[max(0, len(b)-8):]
}

// BenchmarkReopen is what a daemon that comes after a killed one waits for.
func BenchmarkReopen(b *testing.B) {
	for name, n := range map[string]int{"young": 100, "full": 15000} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			l, err := Open(dir, Options{})
			if err != nil {
				b.Fatal(err)
			}
			p := sampleProcess(1, "/bin/worker")
			for range n {
				r := sampleRecord(p)
				if err := l.Append(&r); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				l.abandon()
				if l, err = Open(dir, Options{}); err != nil {
					b.Fatal(err)
				}
			}
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// abandon ends a log as the death of its process would.
func (l *Log) abandon() {
	l.stop()
	l.done.Wait()
	l.release()
}
