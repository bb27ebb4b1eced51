package audit

import (
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// place is a record's place at the end of a line.
type place struct {
	seq  uint64
	hash Digest
	end  int // offset behind its line
}

// scan is what a segment holds, as far as its own lines tell.
type scan struct {
	last    place // end of the unbroken chain from the segment's first record
	mark    place // record seq with the hash asked for; seq 0: not on the unbroken chain
	anyMark bool  // the same, wherever it stands
	highest uint64
	residue []byte // what follows last, without the zeros at the end
	newest  int64  // newest record time of the unbroken chain, Unix nanoseconds
}

func (s *scan) records() bool { return s.last.end > 0 }

// scanSegment reads a segment for the record that the head names.
func scanSegment(f segmentFile, head tip) (scan, error) {
	data, err := readAll(f)
	if err != nil {
		return scan{}, err
	}
	return scanLines(data, f.first, head), nil
}

func scanLines(data []byte, first uint64, head tip) scan {
	s := scan{last: place{seq: first - 1}}
	if head.seq == first-1 { // the head's record ends the segment before
		s.mark, s.anyMark, s.last.hash = place{head.seq, head.hash, 0}, true, head.hash
	}
	data = bytes.TrimRight(data, "\x00")
	unbroken := true
	var shelf objects
	for rest := data; len(rest) > 0; {
		line, after, ok := cutLine(rest)
		if !ok {
			break
		}
		rest = after
		if json, ok := cutObject(line); ok {
			shelf.add(json)
			continue
		}
		l, err := shelf.parse(line)
		if err != nil {
			unbroken = false
			continue
		}
		unbroken = unbroken && s.follows(l, first)
		s.take(l, line, len(data)-len(rest), unbroken, head)
	}
	s.residue = data[s.last.end:]
	return s
}

// follows reports whether l comes next on the chain. What the first record of a
// segment is chained to is known only where the head's record is the one before.
func (s *scan) follows(l link, first uint64) bool {
	if l.seq != s.last.seq+1 {
		return false
	}
	return l.prev == s.last.hash || l.seq == first && s.last.hash.IsZero()
}

func (s *scan) take(l link, line []byte, end int, unbroken bool, head tip) {
	s.highest = max(s.highest, l.seq)
	isMark := l.seq == head.seq && l.hash == head.hash
	s.anyMark = s.anyMark || isMark
	if !unbroken {
		return
	}
	s.last = place{l.seq, l.hash, end}
	if t, ok := lineTime(line); ok {
		s.newest = max(s.newest, t.UnixNano())
	}
	if isMark {
		s.mark = s.last
	}
}

// readAll reads a whole segment, unpacked.
func readAll(f segmentFile) ([]byte, error) {
	if !f.packed {
		return readWritten(f.path())
	}
	data, err := os.ReadFile(f.path())
	if err != nil {
		return nil, err
	}
	return unpack(data)
}

// readWritten reads a plain segment as far as anything was ever written to it. What
// follows is allocated and zero, and most of the file in a young segment.
func readWritten(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	data := make([]byte, writtenEnd(f, info.Size()))
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, int64(len(data))), data); err != nil {
		return data, err
	}
	return data, readGap(f, data)
}

// readGap reads again what was zero in front of something that was not. A file is
// read page by page, and its writer goes on meanwhile, from front to back: what is
// zero still was not written before what follows it.
func readGap(f io.ReaderAt, data []byte) error {
	from, to := bytes.IndexByte(data, 0), len(bytes.TrimRight(data, "\x00"))
	if from < 0 || from >= to {
		return nil
	}
	_, err := f.ReadAt(data[from:to], int64(from))
	return err
}

// writtenEnd is where the last hole of a file begins, to which its file system
// counts what is allocated and was never written; the file's size where it cannot
// tell.
func writtenEnd(f *os.File, size int64) (end int64) {
	for at := int64(0); at < size; at = end {
		data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return end
		}
		if err != nil {
			return size
		}
		if end, err = unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE); err != nil {
			return size
		}
	}
	return end
}
