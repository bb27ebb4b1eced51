package audit

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Verify checks every byte of a trail: each line against its hash, each hash
// against the next line, the end against the head, and what was noted elsewhere.
// An error means that it could not look, not that something is wrong. It takes no
// lock, and a trail may be verified while it is written.
func Verify(dir string, anchors ...Anchor) (Report, error) {
	r, err := verify(dir, anchors)
	if (err != nil || !r.OK()) && !r.Live && beingWritten(dir) {
		return verify(dir, anchors) // a writer started meanwhile, and mended what a crash left
	}
	return r, err
}

func verify(dir string, anchors []Anchor) (Report, error) {
	v := verifier{anchors: anchors, missing: map[uint64]uint64{}}
	if err := v.begin(dir); err != nil {
		return Report{}, fmt.Errorf("verify audit trail: %w", err)
	}
	for i, f := range v.files {
		if err := v.segment(f, i == len(v.files)-1); err != nil {
			return Report{}, fmt.Errorf("verify audit trail: %w", err)
		}
	}
	v.reportMissing()
	v.checkEnd()
	v.checkAnchors()
	slices.SortStableFunc(v.Findings, compareFindings)
	return v.Report, nil
}

func compareFindings(a, b Finding) int {
	return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Line, b.Line))
}

// verifier walks the chain from its first record to its last.
type verifier struct {
	Report
	key     keyed
	hasKey  bool
	head    headState
	hasHead bool
	left    found // what the next Open would find
	files   []segmentFile
	anchors []Anchor

	next    uint64            // seq expected
	shelf   objects           // of the segment
	prev    Digest            // hash of the record before
	sure    bool              // prev is known
	missing map[uint64]uint64 // gaps: first to last
	atHead  bool              // the record that the head names was seen, with that hash
	met     []bool            // anchors seen
	changed map[uint64]bool
}

// begin reads the head first and lists the segments afterwards, so that whatever
// is written meanwhile lies behind what is checked.
func (v *verifier) begin(dir string) error {
	key, err := readKey(dir)
	if err != nil {
		return err
	}
	v.key, v.hasKey = newKeyed(key), key != nil
	v.changed, v.met = map[uint64]bool{}, make([]bool, len(v.anchors))
	v.Live = beingWritten(dir)
	if v.head, v.hasHead, err = v.readHead(dir); err != nil {
		return err
	}
	if v.files, err = listTrail(dir); err != nil && !v.hasHead {
		return err
	}
	if !v.Live {
		if v.left, err = inspect(dir, v.key); err != nil {
			return err
		}
		if v.left.cut {
			v.files = slices.DeleteFunc(v.files, func(f segmentFile) bool { return f.first > v.left.file.first })
		}
	}
	v.next, v.atHead = 1, v.head.seq == 0
	v.Segments = len(v.files)
	return nil
}

// readHead reads again where a slot was being written at that moment.
func (v *verifier) readHead(dir string) (h headState, ok bool, err error) {
	for range 10 {
		h, ok, err = readHead(dir, v.key)
		if err != nil || !v.Live || ok && h.torn == [slots]bool{} {
			break
		}
	}
	return h, ok, err
}

func (v *verifier) find(f Finding) {
	if len(v.Findings) >= maxFindings {
		v.More++
		return
	}
	v.Findings = append(v.Findings, f)
}

// segment checks every line of one file.
func (v *verifier) segment(f segmentFile, newest bool) error {
	data, err := v.read(f)
	if err != nil {
		if !errors.Is(err, errPacked) {
			return err
		}
		v.find(Finding{First: f.first, File: f.name(), Problem: "the packed segment was changed"})
		return nil
	}
	if v.left.cut && f == v.left.file {
		data = data[:v.left.end] // the rest of a crash, which checkLeft tells of
	}
	if written, number, records := v.lines(f, data); !newest {
		if len(written) > 0 {
			v.find(Finding{File: f.name(), Line: number + 1, Problem: "bytes that are no record"})
		}
		if records == 0 {
			v.find(Finding{First: f.first, File: f.name(), Problem: "the segment is empty"})
		}
	}
	return nil
}

// lines checks the lines of a segment, and gives what follows the last record.
func (v *verifier) lines(f segmentFile, data []byte) (left []byte, number, records int) {
	v.shelf = objects{}
	left = bytes.TrimRight(data, "\x00")
	for line, rest, ok := cutLine(left); ok; line, rest, ok = cutLine(rest) {
		number++
		if json, ok := cutObject(line); ok {
			v.shelf.add(json)
			continue
		}
		records++
		v.line(f, number, line, records == 1)
		left = rest
	}
	return left, number, records
}

func (v *verifier) read(f segmentFile) ([]byte, error) {
	data, err := readAll(f)
	if err == nil || f.packed {
		return data, err
	}
	packed := f // packed meanwhile
	packed.packed = true
	if again, errAgain := readAll(packed); errAgain == nil {
		return again, nil
	}
	return nil, err
}

// line checks one line, and goes on from what it says of itself.
func (v *verifier) line(f segmentFile, number int, line []byte, first bool) {
	v.Records++
	l, err := v.shelf.parse(line)
	at := Finding{First: l.seq, File: f.name(), Line: number}
	if errors.Is(err, errNotRecord) {
		at.First, at.Problem = v.next, "changed: the line is no record any more"
		v.find(at)
		v.changed[v.next] = true
		v.next, v.sure = v.next+1, false
		return
	}
	doubtful := errors.Is(err, errChanged)
	if doubtful && (l.seq < v.next || l.seq > v.next+1000) {
		l.seq = v.next // what it says of itself counts only where it makes sense
	}
	if at.First = l.seq; err != nil {
		v.changed[l.seq] = true
	}
	if first && !doubtful && l.seq != f.first {
		v.find(Finding{First: l.seq, File: f.name(), Line: number, Problem: fmt.Sprintf("the segment's name says that it begins with record %d", f.first)})
	}
	v.place(at, l, err)
	v.look(l, line, err == nil)
}

// place holds a record against the one before it.
func (v *verifier) place(at Finding, l link, err error) {
	changed := err != nil
	if changed {
		at.Problem = err.Error()
		v.find(at)
	}
	switch {
	case l.seq < v.next:
		v.outOfPlace(at, l.seq)
		return
	case l.seq > v.next:
		v.missing[v.next] = l.seq - 1
	case v.sure && l.prev != v.prev && !changed:
		at.Problem = "rewritten, or the record before it was: the chain is broken"
		v.find(at)
	case !v.sure && l.seq == 1 && !l.prev.IsZero() && !changed:
		at.Problem = "is chained to a record before the first"
		v.find(at)
	}
	v.next, v.prev, v.sure = l.seq+1, l.hash, true
}

// outOfPlace reports a record behind one that comes later.
func (v *verifier) outOfPlace(at Finding, seq uint64) {
	at.Problem = "is not in its place"
	for first, last := range v.missing {
		if seq < first || seq > last {
			continue
		}
		delete(v.missing, first)
		if first < seq {
			v.missing[first] = seq - 1
		}
		if seq < last {
			v.missing[seq+1] = last
		}
		v.find(at)
		return
	}
	if !v.changed[seq] {
		at.Problem = "is there twice"
	}
	v.find(at)
}

// look takes from a record what the report is about.
func (v *verifier) look(l link, line []byte, intact bool) {
	if v.First == 0 {
		v.First = l.seq
	}
	if l.seq >= v.Last {
		v.Last, v.Tip = l.seq, l.hash
	}
	v.atHead = v.atHead || intact && l.seq == v.head.seq && l.hash == v.head.hash
	for i, a := range v.anchors {
		v.met[i] = v.met[i] || intact && a.Seq == l.seq && a.Hash == l.hash
	}
	if t, ok := lineTime(line); ok {
		if v.From.IsZero() || t.Before(v.From) {
			v.From = t
		}
		if t.After(v.To) {
			v.To = t
		}
	}
	if !intact {
		return
	}
	switch {
	case bytes.Contains(line, []byte(`,"kind":"checkpoint"`)):
		v.checkpoint(line)
	case bytes.Contains(line, []byte(`,"kind":"loss"`)):
		v.loss(line)
	}
}
