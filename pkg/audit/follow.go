package audit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"time"
)

const followEvery = 100 * time.Millisecond

// Follow yields what Read does, and then every record that fits as it is
// written, until ctx ends. A trail that is not there yet is waited for; one that
// can't be read is an error. Writes to a mapping raise no file event, so the trail is
// looked at ten times a second.
func Follow(ctx context.Context, dir string, q Query) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		f, err := q.compile()
		if err != nil {
			yield(Record{}, err)
			return
		}
		t := tail{dir: dir, filter: f}
		defer t.close()
		if err := t.history(q, yield); err != nil {
			return
		}
		tick := time.NewTicker(followEvery)
		defer tick.Stop()
		for t.step(yield) {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}
}

var errStop = errors.New("stop")

// tail is the end of a trail that grows.
type tail struct {
	dir     string
	filter  *filter
	seen    uint64 // seq of the last record passed
	file    *os.File
	segment segmentFile
	shelf   objects // of the segment, as far as it is read
	left    []byte  // the beginning of a line
	offset  int64
}

// history yields the records there are, and notes where they end.
func (t *tail) history(q Query, yield func(Record, error) bool) error {
	files, err := listSegments(t.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		yield(Record{}, err)
		return err
	}
	if len(files) == 0 {
		return nil
	}
	for i := len(files) - 1; i >= 0 && t.seen == 0; i-- {
		t.seen = lastSeq(files[i])
	}
	end := t.seen
	for r, err := range Read(t.dir, q) {
		if err == nil && r.Seq > end {
			break // written since; the tail has it
		}
		if !yield(r, err) {
			return errStop
		}
	}
	return nil
}

func lastSeq(f segmentFile) uint64 {
	data, err := load(f)
	if err != nil {
		return 0
	}
	for end := bytes.LastIndexByte(data, '\n'); end >= 0; end = bytes.LastIndexByte(data[:end], '\n') {
		if seq, ok := parseSeq(data[bytes.LastIndexByte(data[:end], '\n')+1:]); ok {
			return seq
		}
	}
	return 0
}

// step yields what has come since; false means stop.
func (t *tail) step(yield func(Record, error) bool) bool {
	for {
		files, _ := listSegments(t.dir)
		if t.file == nil && !t.openFirst(files) {
			return true
		}
		if !t.drain(yield) {
			return false
		}
		if !t.advance(files) && !t.beginAnew(files) {
			return true
		}
	}
}

// openFirst opens the segment that holds the record after seen.
func (t *tail) openFirst(files []segmentFile) bool {
	for i := len(files) - 1; i >= 0; i-- {
		if files[i].first <= t.seen+1 || i == 0 {
			return t.open(files[i])
		}
	}
	return false
}

// open goes on at the start of a segment. One that is packed already is read whole.
func (t *tail) open(f segmentFile) bool {
	t.close()
	t.segment, t.shelf, t.left, t.offset = f, objects{}, nil, 0
	if !f.packed {
		file, err := os.Open(f.path())
		t.file = file
		if err == nil {
			return true
		}
		f.packed = true
	}
	data, err := readAll(f)
	if err != nil {
		return false
	}
	t.left, t.offset = data, int64(len(data))
	t.file, err = os.Open(os.DevNull)
	return err == nil
}

// advance goes on in the segment behind the one that is read; files was listed
// before it was read to its end, so that nothing is missed.
func (t *tail) advance(files []segmentFile) bool {
	for _, f := range files {
		if f.first > t.segment.first {
			return t.open(f)
		}
	}
	return false
}

// beginAnew goes on in the newest segment where the one that is read is gone and none
// is behind it: the trail, or its end, was removed or put aside, and is written anew.
func (t *tail) beginAnew(files []segmentFile) bool {
	if len(files) == 0 || files[len(files)-1].first > t.segment.first || !t.gone() {
		return false
	}
	newest := files[len(files)-1]
	t.seen = newest.first - 1
	return t.open(newest)
}

// gone reports whether the segment that is read is there no more, packed or not. It has
// its packed form before it loses the plain one, so that is looked for last.
func (t *tail) gone() bool {
	plain, packed := t.segment, t.segment
	plain.packed, packed.packed = false, true
	there, err := os.Stat(plain.path())
	read, errRead := t.file.Stat()
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist), errRead != nil:
		return false
	case err == nil && read.Mode().IsRegular():
		return !os.SameFile(read, there)
	}
	return !exists(packed.path())
}

// drain yields every whole line that is there. A line without an end is read again
// next time: a writer that starts anew may have cut it.
func (t *tail) drain(yield func(Record, error) bool) bool {
	defer func() { t.offset, t.left = t.offset-int64(len(t.left)), nil }()
	buf := make([]byte, 256<<10)
	for {
		if !t.lines(yield) {
			return false
		}
		n, err := t.file.ReadAt(buf, t.offset)
		if end := bytes.IndexByte(buf[:n], 0); end >= 0 {
			n, err = end, io.EOF
		}
		t.left = append(t.left, buf[:n]...)
		t.offset += int64(n)
		if n == 0 || err != nil {
			return t.lines(yield)
		}
	}
}

func (t *tail) lines(yield func(Record, error) bool) bool {
	for {
		line, rest, ok := cutLine(t.left)
		if !ok {
			return true
		}
		t.left = rest
		if json, ok := cutObject(line); ok {
			t.shelf.add(bytes.Clone(json))
			continue
		}
		if seq, ok := parseSeq(line); ok && seq <= t.seen {
			continue
		} else if ok {
			t.seen = seq
		}
		r, wanted, err := t.filter.decode(line, &t.shelf)
		if err != nil {
			err = &LineError{t.segment.name(), 0, err}
		}
		if (wanted || err != nil) && !yield(r, err) {
			return false
		}
	}
}

func (t *tail) close() {
	if t.file != nil {
		_ = t.file.Close()
		t.file = nil
	}
}
