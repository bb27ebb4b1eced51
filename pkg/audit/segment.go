package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// segment is a mapped segment that is written to.
type segment struct {
	segmentFile
	file   *os.File
	data   []byte              // the whole mapping
	end    int                 // where the next line begins
	newest int64               // newest record time, Unix nanoseconds; becomes the file's mtime
	held   map[Digest]struct{} // the objects that it has
	recent Digest              // of held: what the last record referred to
	given  int                 // up to here pages were given back
}

// createSegment makes an empty segment whose blocks are all allocated, so that
// a full disk is found here and not by a fault in the middle of a write.
func createSegment(dir string, first uint64, size int) (*segment, error) {
	s := &segment{segmentFile: segmentFile{dir: dir, first: first}, held: map[Digest]struct{}{}}
	f, err := os.OpenFile(s.path(), os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, fmt.Errorf("make audit segment: %w", err)
	}
	s.file = f
	if err := errors.Join(s.reserve(size), syncDir(dir)); err != nil {
		_ = s.unmap()
		f.Close()
		_ = os.Remove(s.path())
		return nil, fmt.Errorf("make audit segment %s: %w", s.path(), err)
	}
	return s, nil
}

// openSegment maps a segment that has room left, from end on. The room that it has
// already is not given up, as the disk may be full by now; what a crash left there is
// to be cut first.
func openSegment(f segmentFile, end, size int, cut bool) (*segment, error) {
	file, err := os.OpenFile(f.path(), os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open audit segment: %w", err)
	}
	s := &segment{segmentFile: f, file: file, end: end, held: map[Digest]struct{}{}}
	if cut {
		err = file.Truncate(int64(end)) // it becomes zeros again
	}
	if err == nil {
		err = s.reserve(max(size, end))
	}
	if err != nil {
		_ = s.unmap()
		file.Close()
		return nil, fmt.Errorf("open audit segment %s: %w", s.path(), err)
	}
	for sum := range objectsIn(s.data[:end]).held {
		s.held[sum] = struct{}{}
	}
	return s, nil
}

// reserve allocates and maps size bytes.
func (s *segment) reserve(size int) error {
	if err := allocate(s.file, int64(size)); err != nil {
		return err
	}
	data, err := unix.Mmap(int(s.file.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map: %w", err)
	}
	s.data = data
	return nil
}

// allocate gives the file size bytes on disk; where the file system has no
// fallocate(2), by writing zeros.
func allocate(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, 64<<10)
	for at := info.Size(); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return err
		}
	}
	return f.Sync()
}

// room is how many bytes a record takes at most, with the objects that the
// segment does not have yet.
func (s *segment) room(e *encoder) int {
	n := len(e.body) + around
	for _, o := range s.lacks(e.shared) {
		if o != nil {
			n += o.size()
		}
	}
	return n
}

func (s *segment) fits(e *encoder) bool { return len(s.data)-s.end >= s.room(e) }

// lacks gives the objects that the segment does not have yet. Where it has what
// a record refers to, it has what that refers to.
func (s *segment) lacks(shared *Shared) (missing [2]*object) {
	if shared.common.sum == s.recent {
		return missing
	}
	for i, o := range shared.objects() {
		if o != nil && !s.holds(o) {
			missing[i] = o
		}
	}
	return missing
}

func (s *segment) holds(o *object) bool {
	_, ok := s.held[o.sum]
	return ok
}

// write puts one record behind the last and gives its hash. last is that of the
// record before, and then its own. The line end is written last: a line that has
// one is whole.
func (s *segment) write(seq uint64, e *encoder, last *hexDigest) Digest {
	for _, o := range s.lacks(e.shared) {
		if o != nil {
			s.writeObject(o)
		}
	}
	s.recent = e.shared.common.sum
	b := s.data[s.end:s.end]
	b = appendSeq(b, seq)
	b = append(b, e.body...)
	b = appendPrev(b, last)
	sum := Digest(sha256.Sum256(b))
	hex.Encode(last[:], sum[:])
	b = appendHash(b, last)
	s.data[s.end+len(b)] = '\n'
	s.end += len(b) + 1
	return sum
}

func (s *segment) writeObject(o *object) {
	b := append(s.data[s.end:s.end], objectKey...)
	b = append(b, o.json...)
	b = append(b, objectEnd...)
	s.end += len(b)
	s.held[o.sum] = struct{}{}
}

func (s *segment) sync() error { return unix.Fdatasync(int(s.file.Fd())) }

// giveBack takes pages that are written out of the mapping, if there are enough
// of them to be worth it. The kernel keeps what is in them and puts it on disk as
// before, but they are no part of this process any more, and a sync need not
// write-protect each of them with an interrupt to every processor.
func (s *segment) giveBack(end int) {
	const enough = 64 << 10
	end -= end % os.Getpagesize()
	if end-s.given < enough {
		return
	}
	if unix.Madvise(s.data[s.given:end], unix.MADV_DONTNEED) == nil {
		s.given = end
	}
}

func (s *segment) unmap() error {
	if s.data == nil {
		return nil
	}
	data := s.data
	s.data = nil
	return unix.Munmap(data)
}

// finish puts the segment on disk, cuts it to its length, and closes it.
func (s *segment) finish() error {
	err := s.unmap()
	err = errors.Join(err, s.file.Truncate(int64(s.end)), s.file.Sync())
	return errors.Join(err, s.file.Close())
}

// leave puts the segment on disk and closes it as long as it is.
func (s *segment) leave() error {
	return errors.Join(s.unmap(), s.file.Sync(), s.file.Close())
}

// readPlain reads the written part of an uncompressed segment: records hold no
// zero byte, and the allocated rest is nothing else.
func readPlain(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const chunk = 1 << 20
	var b []byte
	for {
		at := len(b)
		b = append(b, make([]byte, chunk)...)
		n, err := io.ReadFull(f, b[at:])
		b = b[:at+n]
		if err == io.EOF || err == io.ErrUnexpectedEOF || n > 0 && b[len(b)-1] == 0 {
			return b, readGap(f, b)
		}
		if err != nil {
			return nil, err
		}
	}
}
