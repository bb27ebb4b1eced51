package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
)

// Read yields the records that q wants, oldest first, straight from disk; with
// q.Last it begins at the end and reads no further back than it must. A line that
// is no record is yielded as a *LineError and passed over. A trail may be read
// while it is written.
func Read(dir string, q Query) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		f, err := q.compile()
		if err != nil {
			yield(Record{}, err)
			return
		}
		files, err := listTrail(dir)
		if err != nil {
			yield(Record{}, err)
			return
		}
		if q.Last > 0 {
			f.newest(files, yield)
			return
		}
		for _, file := range files {
			if !f.segment(file, yield) {
				return
			}
		}
	}
}

// listTrail lists segments; none at all is an error that says so.
func listTrail(dir string) ([]segmentFile, error) {
	files, err := listSegments(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(files) == 0 {
		return nil, fmt.Errorf("%w in %s", ErrNoTrail, dir)
	}
	return files, err
}

// load reads what is written of a segment. One that was packed between listing
// and reading is found under its other name.
func load(f segmentFile) ([]byte, error) {
	if !f.packed {
		data, err := readPlain(f.path())
		if !errors.Is(err, fs.ErrNotExist) {
			return data, err
		}
		f.packed = true
	}
	return readAll(f)
}

// tooOld reports whether every record of a sealed segment is before Since: its
// modification time is that of its newest record.
func (f *filter) tooOld(file segmentFile) bool {
	if f.Since.IsZero() {
		return false
	}
	info, err := os.Stat(file.path())
	return err == nil && info.Mode().Perm() == sealedMode && info.ModTime().Before(f.Since)
}

// segment yields what fits of one segment; false means stop.
func (f *filter) segment(file segmentFile, yield func(Record, error) bool) bool {
	if f.tooOld(file) {
		return true
	}
	data, err := load(file)
	if err != nil {
		return yield(Record{}, fmt.Errorf("read audit segment %s: %w", file.name(), err))
	}
	number := 0
	var shelf objects
	for line, rest, ok := cutLine(data); ok; line, rest, ok = cutLine(rest) {
		number++
		if json, ok := cutObject(line); ok {
			shelf.add(json)
			continue
		}
		r, wanted, err := f.decode(line, &shelf)
		if err != nil {
			err = &LineError{file.name(), number, err}
		}
		if (wanted || err != nil) && !yield(r, err) {
			return false
		}
	}
	return true
}

// decode reads a line if it may be wanted, and reports whether it is.
func (f *filter) decode(line []byte, shelf *objects) (Record, bool, error) {
	if !f.Not && !f.mayFit(line, shelf) {
		return Record{}, false, nil
	}
	r, err := decode(line, shelf)
	if err != nil {
		return Record{}, false, err
	}
	return r, f.fits(&r), nil
}

// mayFit looks at the bytes of a line and of what it refers to.
func (f *filter) mayFit(line []byte, shelf *objects) bool {
	if len(f.needles) == 0 {
		return true
	}
	sum, _, refers := commonOf(line)
	common := shelf.held[sum]
	if refers && common == nil {
		return true // an error, which decode finds
	}
	for _, group := range f.needles {
		if !slices.ContainsFunc(group, func(n []byte) bool { return bytes.Contains(line, n) || bytes.Contains(common, n) }) {
			return false
		}
	}
	return true
}

// newest yields the last so many records that fit.
func (f *filter) newest(files []segmentFile, yield func(Record, error) bool) {
	var found []Record
	var failed []error
	for i := len(files) - 1; i >= 0 && len(found) < f.Last; i-- {
		if f.tooOld(files[i]) {
			continue
		}
		data, err := load(files[i])
		if err != nil {
			failed = append(failed, fmt.Errorf("read audit segment %s: %w", files[i].name(), err))
			continue
		}
		found, failed = f.backwards(files[i], data, found, failed)
	}
	for _, err := range slices.Backward(failed) {
		if !yield(Record{}, err) {
			return
		}
	}
	for _, r := range slices.Backward(found) {
		if !yield(r, nil) {
			return
		}
	}
}

// backwards adds to found, from the end of a segment.
func (f *filter) backwards(file segmentFile, data []byte, found []Record, failed []error) ([]Record, []error) {
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	shelf := objectsIn(data)
	for len(data) > 0 && len(found) < f.Last {
		start := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
		line := data[start : len(data)-1]
		data = data[:start]
		if _, ok := cutObject(line); ok {
			continue
		}
		r, wanted, err := f.decode(line, shelf)
		if err != nil {
			failed = append(failed, &LineError{file.name(), bytes.Count(data, []byte{'\n'}) + 1, err})
		} else if wanted {
			found = append(found, r)
		}
	}
	return found, failed
}
