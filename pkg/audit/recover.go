package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The reasons of loss records that a crash explains.
const (
	ReasonTornLine    = "torn_line"    // the writer died in the middle of a record it had not acknowledged
	ReasonPowerLoss   = "power_loss"   // the machine went down with records not yet on disk
	ReasonWriteFailed = "write_failed" // records were refused: no space, or the disk failed
)

// The reasons of loss records that no crash explains: someone's hand, or a broken
// disk. Verify fails on them.
const (
	ReasonHeadMissing = "head_missing" // no head that the key vouches for
	ReasonHeadDamaged = "head_damaged" // a part of the head is not as it was written
	ReasonTailMissing = "tail_missing" // the trail ends before the head says
	ReasonDamaged     = "damaged"      // the chain of the newest segment is broken
	ReasonAppended    = "appended"     // records that the head knows nothing of
)

// found is how the last writer left a trail, and where it goes on.
type found struct {
	tip   tip           // the last record that counts
	file  segmentFile   // the segment to go on in
	end   int           // from here
	fresh bool          // in a new one instead
	cut   bool          // what follows end is the rest of a crash
	aside []segmentFile // segments that do not belong
	loss  []Record      // to be written first
}

// inspect finds out how the last writer left the trail. It changes nothing.
func inspect(dir string, k keyed) (found, error) {
	h, ok, err := readHead(dir, k)
	if err != nil {
		return found{}, err
	}
	files, err := listSegments(dir)
	if err != nil {
		return found{}, err
	}
	if !ok {
		return withoutHead(dir, files)
	}
	fd := found{tip: h.tip, fresh: true}
	crashed := !h.clean && h.boot != bootID() // the machine went down, not only the writer
	if crashed {
		files, err = fd.contiguous(files)
	} else {
		files = fd.known(files)
	}
	if err != nil {
		return found{}, err
	}
	file, s, err := lastWritten(files, h.tip)
	if err != nil {
		return found{}, err
	}
	fd.judge(h, file, &s, crashed)
	return fd, nil
}

// withoutHead goes on behind what there is, in a new segment.
func withoutHead(dir string, files []segmentFile) (found, error) {
	fd := found{fresh: true}
	if len(files) == 0 && !exists(filepath.Join(dir, headName)) {
		return fd, nil // a new trail
	}
	if len(files) == 0 {
		fd.lost(ReasonHeadMissing, 0)
		return fd, nil
	}
	_, s, err := lastWritten(files, tip{})
	if err != nil {
		return found{}, err
	}
	fd.tip = tip{seq: max(s.last.seq, s.highest, files[len(files)-1].first), hash: s.last.hash}
	fd.lost(ReasonHeadMissing, 0)
	return fd, nil
}

// known leaves out segments that begin beyond what the head knows of.
func (fd *found) known(files []segmentFile) []segmentFile {
	n := len(files)
	for n > 0 && files[n-1].first > fd.tip.seq+1 {
		n--
	}
	if n < len(files) {
		fd.aside = files[n:]
		fd.lost(ReasonAppended, 0)
	}
	return files[:n]
}

// contiguous leaves out segments behind the first gap in what was not yet on disk
// when the machine went down: pages reach the disk in any order.
func (fd *found) contiguous(files []segmentFile) ([]segmentFile, error) {
	for i := 0; i+1 < len(files); i++ {
		if files[i+1].first <= fd.tip.synced || files[i].packed {
			continue
		}
		s, err := scanSegment(files[i], tip{})
		if err != nil {
			return nil, err
		}
		if len(s.residue) > 0 || s.last.seq+1 != files[i+1].first {
			fd.aside = files[i+1:]
			return files[:i+1], nil
		}
	}
	return files, nil
}

const damagedExt = ".damaged"

// lastWritten is the newest segment with anything in it, or the newest one.
func lastWritten(files []segmentFile, head tip) (segmentFile, scan, error) {
	for i := len(files) - 1; i >= 0; i-- {
		s, err := scanSegment(files[i], head)
		if errors.Is(err, errPacked) {
			return files[i], scan{}, nil
		}
		if err != nil {
			return segmentFile{}, scan{}, err
		}
		if s.records() || len(s.residue) > 0 || s.anyMark || i == 0 {
			return files[i], s, nil
		}
	}
	return segmentFile{}, scan{}, nil
}

// judge holds the newest segment against the head.
func (fd *found) judge(h headState, file segmentFile, s *scan, crashed bool) {
	next := s.last.seq == h.seq+1 && len(s.residue) == 0
	if !crashed && h.damaged(next) {
		fd.lost(ReasonHeadDamaged, 0)
	}
	switch {
	case file == (segmentFile{}): // no segment at all
		if h.seq > 0 {
			fd.lost(ReasonTailMissing, h.seq)
		}
	case s.anyMark && s.mark.seq == h.seq:
		fd.judgeBeyond(h, file, s, crashed)
	case crashed && file.first > h.seq+1: // the head on disk is older by a segment
		fd.resume(file, s.last, s.residue)
	case crashed && s.last.seq >= h.synced && s.last.seq < h.seq:
		fd.file, fd.end, fd.cut = file, s.last.end, len(s.residue) > 0
		fd.lost(ReasonPowerLoss, h.seq-s.last.seq)
	case s.anyMark:
		fd.lost(ReasonDamaged, 0)
	default:
		fd.lost(ReasonTailMissing, h.seq-min(h.seq, s.highest))
	}
}

// judgeBeyond looks at what stands behind the head's record, which is in place.
func (fd *found) judgeBeyond(h headState, file segmentFile, s *scan, crashed bool) {
	whole := s.last.seq - h.seq // records never acknowledged
	switch {
	case crashed: // the head may be older than the segment: what chains on counts
		fd.resume(file, s.last, s.residue)
	case whole == 0 && len(s.residue) == 0:
		fd.resume(file, s.mark, nil)
	case !h.clean && (whole == 1 && len(s.residue) == 0 || whole == 0 && tornLine(s.residue)):
		fd.resume(file, s.mark, []byte{0})
	default:
		fd.lost(ReasonAppended, 0)
	}
}

// tornLine reports whether b is what a writer leaves that dies in the middle of
// a record: the line end is written last, a line begins with a brace, and objects
// may stand in front.
func tornLine(b []byte) bool {
	for len(b) > 0 {
		line, rest, whole := cutLine(b)
		if !whole {
			return b[0] == '{'
		}
		if _, ok := cutObject(line); !ok {
			return false
		}
		b = rest
	}
	return true
}

// resume goes on at a place; a residue behind it is cut and told.
func (fd *found) resume(file segmentFile, at place, residue []byte) {
	fd.tip.seq, fd.tip.hash = at.seq, at.hash
	if len(residue) > 0 {
		fd.lost(ReasonTornLine, 1)
	}
	if !file.packed {
		fd.file, fd.end, fd.fresh, fd.cut = file, at.end, false, len(residue) > 0
	}
}

func (fd *found) lost(reason string, n uint64) {
	fd.loss = append(fd.loss, Record{Kind: KindLoss, Reason: reason, Lost: n})
}

// open puts aside what does not belong and gives the segment to write to.
func (fd *found) open(dir string, size int) (*segment, error) {
	if !fd.fresh {
		return openSegment(fd.file, fd.end, size, fd.cut)
	}
	for _, f := range append(fd.aside, fd.inTheWay(dir)...) {
		if err := os.Rename(f.path(), f.path()+damagedExt); err != nil {
			return nil, err
		}
	}
	if fd.cut {
		if err := os.Truncate(fd.file.path(), int64(fd.end)); err != nil {
			return nil, err
		}
	}
	return createSegment(dir, fd.tip.seq+1, size)
}

// inTheWay is a segment that has the name of the one to be made.
func (fd *found) inTheWay(dir string) []segmentFile {
	f := segmentFile{dir: dir, first: fd.tip.seq + 1}
	for _, packed := range []bool{false, true} {
		f.packed = packed
		if exists(f.path()) && !slices.Contains(fd.aside, f) {
			return []segmentFile{f}
		}
	}
	return nil
}

// sweep removes what a crash left half made.
func sweep(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, ".*-*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove %s: %w", strings.TrimPrefix(path, dir), err)
		}
	}
	return nil
}

// sealOlder finishes what the last writer had no time for: every segment but the
// active one is sealed and packed.
func sealOlder(dir string, active uint64) error {
	files, err := listSegments(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.packed || f.first == active {
			continue
		}
		if err := sealLeft(f); err != nil {
			return err
		}
	}
	return nil
}

// sealLeft seals one segment. One whose chain is broken is not packed, for whoever
// looks into it.
func sealLeft(f segmentFile) error {
	s, err := scanSegment(f, tip{})
	if err != nil {
		return err
	}
	if err := os.Chmod(f.path(), fileMode); err != nil {
		return err
	}
	if err := os.Truncate(f.path(), int64(s.last.end+len(s.residue))); err != nil {
		return err
	}
	newest := s.newest
	if len(s.residue) > 0 {
		newest = time.Now().UnixNano()
	}
	if err := seal(f, newest); err != nil || len(s.residue) > 0 || !s.records() {
		return err
	}
	if err := packSegment(f); !noRoom(err) {
		return err
	}
	return nil // the next Open may have some
}
