package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Each kind of tampering is found and named: scorecard row G2.
func TestVerifyFinds(t *testing.T) {
	base := closedTrail(t, 12, DefaultSegmentSize)
	cases := []struct {
		name  string
		spoil func(l [][]byte) [][]byte
		want  []string
	}{
		{"a changed byte", func(l [][]byte) [][]byte { l[4] = bytes.Replace(l[4], []byte("POST"), []byte("PUSH"), 1); return l },
			[]string{"record 5: changed: its hash is not that of its bytes (00000000000000000001.jsonl line 7)"}},
		{"a changed number", func(l [][]byte) [][]byte {
			l[4] = bytes.Replace(l[4], []byte(`"seq":5`), []byte(`"seq":6`), 1)
			return l
		},
			[]string{"record 6: changed: its hash is not that of its bytes (00000000000000000001.jsonl line 7)"}},
		{"a record removed", func(l [][]byte) [][]byte { return slices.Delete(l, 4, 5) }, []string{"record 5: missing"}},
		{"three records removed", func(l [][]byte) [][]byte { return slices.Delete(l, 4, 7) }, []string{"records 5 to 7: missing"}},
		{"the first removed", func(l [][]byte) [][]byte { return l[1:] },
			[]string{"record 1: missing", "record 2: the segment's name says that it begins with record 1 (00000000000000000001.jsonl line 1)"}},
		{"two swapped", func(l [][]byte) [][]byte { l[4], l[5] = l[5], l[4]; return l },
			[]string{"record 5: is not in its place (00000000000000000001.jsonl line 8)"}},
		{"two far apart swapped", func(l [][]byte) [][]byte { l[2], l[8] = l[8], l[2]; return l }, []string{"is not in its place"}},
		{"one twice", func(l [][]byte) [][]byte { return slices.Insert(l, 5, l[4]) },
			[]string{"record 5: is there twice (00000000000000000001.jsonl line 8)"}},
		{"the last cut", func(l [][]byte) [][]byte { return l[:11] }, []string{"record 12: cut off the end"}},
		{"the tail cut", func(l [][]byte) [][]byte { return l[:7] }, []string{"records 8 to 12: cut off the end"}},
		{"all cut", func(l [][]byte) [][]byte { return nil }, []string{"records 1 to 12: cut off the end"}},
		{"half a line cut", func(l [][]byte) [][]byte { l[11] = l[11][:50]; return l }, []string{"record 12: cut off the end"}},
		{"a record rewritten with its hash", func(l [][]byte) [][]byte { l[4] = rehash(l[4], nil); return l },
			[]string{"record 6: rewritten, or the record before it was: the chain is broken"}},
		{"everything rewritten from there on", rewriteFrom(4), []string{"record 12: is not the record that the head names"}},
		{"records forged behind the end", func(l [][]byte) [][]byte { return append(l, forge(l[11], 13)) }, []string{"there were records behind the last one"}},
		{"bytes behind the end", func(l [][]byte) [][]byte { return append(l, []byte("\x00\x00x")) }, []string{"record"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := copyTrail(t, base)
			editLines(t, activePath(t, dir), c.spoil)
			r, err := Verify(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return strings.Contains(f.String(), want) }) {
					t.Errorf("no finding %q among %v", want, r.Findings)
				}
			}
			if len(c.want) == 1 && len(r.Findings) != 1 && !strings.HasPrefix(c.name, "two far") && c.name != "a changed number" {
				t.Errorf("more than was done: %v", r.Findings)
			}
			// The next start goes on, and hides nothing.
			appendN(t, open(t, dir, Options{}), 1)
			if r, err := Verify(dir); err != nil || r.OK() {
				t.Errorf("after the next start: %v, %+v", err, r)
			}
		})
	}
}

// Every bit of every file that holds the trail is vouched for: scorecard row G2.
func TestEveryBit(t *testing.T) {
	base := closedTrail(t, 150, minSegmentSize) // one packed segment and the active one
	if files, err := listSegments(base); err != nil || len(files) != 2 {
		t.Fatalf("%d segments, %v", len(files), err)
	}
	entries, err := os.ReadDir(base)
	if err != nil {
		t.Fatal(err)
	}
	sample := 2500 // of each file
	if testing.Short() {
		sample = 100 // the race detector sees the same in each
	}
	var flips, step int
	for _, e := range entries {
		if e.Name() == lockName {
			continue
		}
		path := filepath.Join(base, e.Name())
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if step = 1 + len(good)*8/sample; step%2 == 0 {
			step++ // an odd step meets every bit of a byte
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		for bit := 0; bit < 8*len(good); bit += step {
			at := bit / 8
			if _, err := f.WriteAt([]byte{good[at] ^ 1<<(bit%8)}, int64(at)); err != nil {
				t.Fatal(err)
			}
			r, err := Verify(base)
			if err != nil || r.OK() && len(r.Notes) == 0 {
				t.Errorf("%s: bit %d of byte %d changed, and nothing is found (%v)", e.Name(), bit%8, at, err)
			}
			if strings.Contains(e.Name(), ".jsonl") && r.OK() {
				t.Errorf("%s: byte %d: a changed segment is only noted", e.Name(), at)
			}
			if _, err := f.WriteAt(good[at:at+1], int64(at)); err != nil {
				t.Fatal(err)
			}
			flips++
		}
		f.Close()
	}
	verified(t, base)
	t.Logf("%d flips", flips)
}

// Every bit of one record, without a sample.
func TestEveryBitOfARecord(t *testing.T) {
	dir := closedTrail(t, 3, DefaultSegmentSize)
	good, err := os.ReadFile(activePath(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	line := bytes.Clone(bare(linesOf(good)[0]))
	if _, err := parseLink(line); err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(line) {
		line[bit/8] ^= 1 << (bit % 8)
		if _, err := parseLink(line); err == nil {
			t.Errorf("bit %d of byte %d may change", bit%8, bit/8)
		}
		line[bit/8] ^= 1 << (bit % 8)
	}
}

func TestVerifyFindsSegments(t *testing.T) {
	base := closedTrail(t, 900, minSegmentSize)
	files, err := listSegments(base)
	if err != nil || len(files) < 6 {
		t.Fatalf("%d segments: %v", len(files), err)
	}
	at := func(dir string, i int) string { return filepath.Join(dir, files[i].name()) }
	last := len(files) - 1
	cases := []struct {
		name  string
		spoil func(dir string) error
		want  string
	}{
		{"one removed", func(dir string) error { return os.Remove(at(dir, 2)) }, fmt.Sprintf("records %d to %d: missing", files[2].first, files[3].first-1)},
		{"the first removed", func(dir string) error { return os.Remove(at(dir, 0)) }, fmt.Sprintf("records 1 to %d: missing", files[1].first-1)},
		{"the last removed", func(dir string) error { return os.Remove(at(dir, last)) }, fmt.Sprintf("records %d to 900: cut off the end", files[last].first)},
		{"two exchanged", func(dir string) error { return exchange(at(dir, 1), at(dir, 2)) }, "the segment's name says"},
		{"one emptied", func(dir string) error { return os.Truncate(at(dir, 2), 0) }, "the packed segment was changed"},
		{"one twice", func(dir string) error {
			data, err := os.ReadFile(at(dir, 1))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, segmentName(files[1].first+3)+packedExt), data, 0o600)
		}, "is there twice"},
		{"head removed", func(dir string) error { return os.Remove(filepath.Join(dir, headName)) }, "the head is missing"},
		{"key removed", func(dir string) error { return os.Remove(filepath.Join(dir, keyName)) }, "the key is missing"},
		{"all segments removed", func(dir string) error {
			for i := range files {
				if err := os.Remove(at(dir, i)); err != nil {
					return err
				}
			}
			return nil
		}, "records 1 to 900: cut off the end"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := copyTrail(t, base)
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			r, err := Verify(dir)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return strings.Contains(f.String(), c.want) }) {
				t.Errorf("no finding %q among %v", c.want, r.Findings)
			}
			appendN(t, open(t, dir, Options{}), 1)
			if r, err := Verify(dir); err != nil || r.OK() {
				t.Errorf("after the next start: %v, %+v", err, r)
			}
		})
	}
}

// What has only the name of a segment is none: nobody reads it, waits for it or falls
// over it, and what it stands for is missing. A link to a segment is one.
func TestNotASegment(t *testing.T) {
	base := closedTrail(t, 300, minSegmentSize)
	files, err := listSegments(base)
	if err != nil || len(files) < 3 || !files[1].packed {
		t.Fatalf("%v: %v", files, err)
	}
	const later = 1 << 40
	missing := fmt.Sprintf("records %d to %d: missing", files[1].first, files[2].first-1)
	for name, c := range map[string]struct {
		put  func(path string) error
		want string
	}{
		"pipe":      {func(path string) error { return unix.Mkfifo(path, 0o600) }, missing},
		"directory": {func(path string) error { return os.Mkdir(path, 0o700) }, missing},
		"device":    {func(path string) error { return os.Symlink("/dev/null", path) }, missing},
		"link":      {func(path string) error { return os.Symlink(files[1].path(), path) }, ""},
	} {
		dir := copyTrail(t, base)
		path := filepath.Join(dir, files[1].name())
		err := errors.Join(os.Remove(path), c.put(path), os.Mkdir(filepath.Join(dir, segmentName(later)+plainExt), 0o700))
		if err != nil {
			t.Fatal(err)
		}
		r, err := Verify(dir)
		if got := fmt.Sprint(r.Findings); err != nil || r.OK() != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, %v; want %q", name, got, err, c.want)
		}
		for _, q := range []Query{{}, {Last: 1000}} {
			for _, err := range Read(dir, q) {
				if err != nil {
					t.Errorf("%s: read: %v", name, err)
				}
			}
		}
		appendN(t, open(t, dir, Options{}), 1)
	}
}

// The last record is vouched for even where the writer died: at rest no slot of
// the head tells of an earlier tip.
func TestCutOfOneAfterACrash(t *testing.T) {
	dir := crashedTrail(t, 5)
	cutAfter(t, activePath(t, dir), 4, "")
	if r, err := Verify(dir); err != nil || r.OK() {
		t.Fatalf("with the head as it is: %v, %+v", err, r)
	}
	// The newest slot destroyed as well, so that the one before counts.
	edit(t, filepath.Join(dir, headName), func(b []byte) []byte {
		for i := range slots {
			if b[i*slotSpace+slotSeq] == 5 {
				b[i*slotSpace+slotMAC] ^= 1
			}
		}
		return b
	})
	if r, err := Verify(dir); err != nil || r.OK() {
		t.Fatalf("with the newest slots destroyed: %v, %+v", err, r)
	}
}

func TestAnchors(t *testing.T) {
	dir := closedTrail(t, 20, DefaultSegmentSize)
	r := verified(t, dir)
	noted := Anchor{r.Last, r.Tip}
	l := open(t, dir, Options{})
	appendN(t, l, 5)
	closeLog(t, l)
	if r, err := Verify(dir, noted); err != nil || !r.OK() {
		t.Errorf("the trail went on: %v, %+v", err, r)
	}
	// Another trail with another key, as root could make one.
	other := closedTrail(t, 30, DefaultSegmentSize)
	if r, err := Verify(other, noted); err != nil || r.OK() {
		t.Errorf("another trail passes for the one that was noted: %v, %+v", err, r)
	}
}

func TestVerifyOfNothing(t *testing.T) {
	if _, err := Verify(t.TempDir()); err == nil {
		t.Error("an empty directory is a trail")
	}
	if _, err := Verify(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no directory is a trail")
	}
}

// A trail that is written, rotated and packed meanwhile raises no alarm.
func TestVerifyWhileWritten(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{SegmentSize: minSegmentSize})
	done := make(chan struct{})
	go func() {
		defer close(done)
		p := sampleProcess(1, "/bin/x")
		for range 3000 {
			r := sampleRecord(p)
			if err := l.Append(&r); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for writing := true; writing; {
		select {
		case <-done:
			writing = false
		default:
		}
		if r := verified(t, dir); !r.Live {
			t.Error("the writer is not seen")
		}
	}
}

// Whatever stands in a segment, reading and judging it ends without a panic.
func FuzzSegment(f *testing.F) {
	dir := closedTrail(f, 3, DefaultSegmentSize)
	good, err := os.ReadFile(filepath.Join(dir, segmentName(1)+plainExt))
	if err != nil {
		f.Fatal(err)
	}
	var packed bytes.Buffer
	if err := pack(&packed, bytes.NewReader(good)); err != nil {
		f.Fatal(err)
	}
	f.Add(good, uint64(1), uint64(3))
	f.Add(packed.Bytes(), uint64(1), uint64(0))
	f.Add([]byte("{\n\n\x00{"), uint64(7), uint64(6))
	f.Fuzz(func(t *testing.T, data []byte, first, seq uint64) {
		s := scanLines(data, first, tip{seq: seq})
		if s.last.end+len(s.residue) > len(data) || s.records() && s.last.seq < first {
			t.Fatalf("%+v", s)
		}
		var fd found
		fd.judge(headState{tip: tip{seq: seq}}, segmentFile{first: first, dir: "x"}, &s, seq%2 == 0)
		_, _ = unpack(data)
	})
}
