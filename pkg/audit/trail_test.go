package audit

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// closedTrail is a small trail of several segments, all plain or packed as they
// come, in a directory of its own.
func closedTrail(t testing.TB, records, segmentSize int) string {
	t.Helper()
	dir := t.TempDir()
	l := open(t, dir, Options{SegmentSize: segmentSize})
	appendN(t, l, records)
	closeLog(t, l)
	return dir
}

// copyTrail copies a trail, so that each case spoils one of its own.
func copyTrail(t testing.TB, from string) string {
	t.Helper()
	dir := t.TempDir()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// linesOf splits into records with their line ends, each with the objects that
// stand in front of it.
func linesOf(b []byte) (records [][]byte) {
	begin, end := 0, 0
	for line, rest, ok := cutLine(b); ok; line, rest, ok = cutLine(rest) {
		end += len(line) + 1
		if _, object := cutObject(line); !object {
			records = append(records, b[begin:end:end])
			begin = end
		}
	}
	return records
}

// bare is a record's line without what stands in front of it and behind.
func bare(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte("\n"))
	return line[bytes.LastIndexByte(line, '\n')+1:]
}

// editLines changes the lines of a plain segment.
func editLines(t *testing.T, path string, change func([][]byte) [][]byte) {
	t.Helper()
	edit(t, path, func(b []byte) []byte { return bytes.Join(change(linesOf(b)), nil) })
}

// rehash changes a line and gives it the hash it then must have; with prev, that
// predecessor too. It is what someone does who knows the format and not the key.
func rehash(line []byte, prev *Digest) []byte {
	front, line := line[:len(line)-len(bare(line))-1], bare(line)
	line = bytes.Replace(line[:len(line)-hashLen], []byte(`"method":"POST"`), []byte(`"method":"DELETE"`), 1)
	if prev != nil {
		last := prev.hex()
		line = appendPrev(line[:len(line)-prevLen], &last)
	}
	hash := Digest(sha256.Sum256(line)).hex()
	line = appendHash(bytes.Clone(line), &hash)
	return append(append(bytes.Clone(front), line...), '\n')
}

func chained(r *Record) []byte {
	s := &segment{data: make([]byte, 8192)}
	var e encoder
	e.encode(r)
	last := r.Prev.hex()
	r.Hash = s.write(r.Seq, &e, &last)
	return bytes.TrimSuffix(s.data[:s.end], []byte("\n"))
}

func rewriteFrom(n int) func([][]byte) [][]byte {
	return func(l [][]byte) [][]byte {
		var prev *Digest
		for i := n; i < len(l); i++ {
			l[i] = rehash(l[i], prev)
			link, err := parseLink(bare(l[i]))
			if err != nil {
				panic(err)
			}
			prev = &link.hash
		}
		return l
	}
}

func forge(last []byte, seq uint64) []byte {
	link, err := parseLink(bare(last))
	if err != nil {
		panic(err)
	}
	r := Record{Seq: seq, Kind: KindRequest, Prev: link.hash}
	return append(chained(&r), '\n')
}

func exchange(a, b string) error {
	x, errA := os.ReadFile(a)
	y, errB := os.ReadFile(b)
	if errA != nil || errB != nil {
		return fmt.Errorf("%v %v", errA, errB)
	}
	if err := os.WriteFile(a, y, 0o600); err != nil {
		return err
	}
	return os.WriteFile(b, x, 0o600)
}
