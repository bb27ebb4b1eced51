package audit

import (
	"bytes"
	"os"
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
	data, err := os.ReadFile(f.path())
	if err != nil || !f.packed {
		return data, err
	}
	return unpack(data)
}
