package audit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Anchor is a tip of the trail that was noted elsewhere. A trail that holds the
// same record with the same hash has not been rewritten up to there, by anyone.
type Anchor struct {
	Seq  uint64
	Hash Digest
}

// Finding is one thing that is not as it was written.
type Finding struct {
	First, Last uint64 // the records it is about; 0: none can be named
	File        string // segment, "" where there is none
	Line        int    // from 1, of the unpacked segment; 0: not on one line
	Problem     string
}

func (f Finding) String() string {
	var where string
	switch {
	case f.First != 0 && f.Last > f.First:
		where = fmt.Sprintf("records %d to %d: ", f.First, f.Last)
	case f.First != 0:
		where = fmt.Sprintf("record %d: ", f.First)
	}
	if f.File == "" {
		return where + f.Problem
	}
	if f.Line > 0 {
		return fmt.Sprintf("%s%s (%s line %d)", where, f.Problem, f.File, f.Line)
	}
	return fmt.Sprintf("%s%s (%s)", where, f.Problem, f.File)
}

// Report is what Verify found.
type Report struct {
	Records     uint64 // whole lines, changed ones too
	First, Last uint64 // seq
	Tip         Digest // hash of Last
	From, To    time.Time
	Segments    int
	Checkpoints int
	Live        bool // a writer has the trail open

	Losses   []Record  // what the trail itself says is not in it
	Notes    []string  // what a crash left, and nothing worse
	Findings []Finding // at most maxFindings, in order
	More     int       // findings that are not listed
}

// OK reports whether the trail is as it was written.
func (r *Report) OK() bool { return len(r.Findings) == 0 }

// Lost is how many records the trail says it has not.
func (r *Report) Lost() (n uint64) {
	for i := range r.Losses {
		n += r.Losses[i].Lost
	}
	return n
}

const maxFindings = 1000

// Verify checks every byte of a trail: each line against its hash, each hash
// against the next line, the end against the head, and what was noted elsewhere.
// An error means that it could not look, not that something is wrong. It takes no
// lock, and a trail may be verified while it is written.
func Verify(dir string, anchors ...Anchor) (Report, error) {
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
	slices.SortStableFunc(v.Findings, func(a, b Finding) int { return compareFindings(a, b) })
	return v.Report, nil
}

func compareFindings(a, b Finding) int {
	switch {
	case a.First < b.First:
		return -1
	case a.First > b.First:
		return 1
	}
	return a.Line - b.Line
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
	written := bytes.TrimRight(data, "\x00")
	number := 0
	for line, rest, ok := cutLine(written); ok; line, rest, ok = cutLine(rest) {
		number++
		v.line(f, number, line, number == 1)
		written = rest
	}
	if len(written) > 0 && !newest {
		v.find(Finding{File: f.name(), Line: number + 1, Problem: "bytes that are no record"})
	}
	if number == 0 && !newest {
		v.find(Finding{First: f.first, File: f.name(), Problem: "the segment is empty"})
	}
	return nil
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
	l, err := parseLink(line)
	at := Finding{First: l.seq, File: f.name(), Line: number}
	if err != nil && !errors.Is(err, errChanged) {
		at.First, at.Problem = v.next, "changed: the line is no record any more"
		v.find(at)
		v.changed[v.next] = true
		v.next, v.sure = v.next+1, false
		return
	}
	if err != nil {
		// What it says of itself counts only where it makes sense.
		if l.seq < v.next || l.seq > v.next+1000 {
			l.seq = v.next
		}
		at.First = l.seq
		v.changed[l.seq] = true
	}
	if first && err == nil && l.seq != f.first {
		v.find(Finding{First: l.seq, File: f.name(), Line: number, Problem: fmt.Sprintf("the segment's name says that it begins with record %d", f.first)})
	}
	v.place(at, l, err != nil)
	v.look(l, line, err == nil)
}

// place holds a record against the one before it.
func (v *verifier) place(at Finding, l link, changed bool) {
	if changed {
		at.Problem = errChanged.Error()
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

func (v *verifier) checkpoint(line []byte) {
	r, err := decode(line)
	if err != nil || r.Kind != KindCheckpoint {
		return
	}
	v.Checkpoints++
	if v.hasKey && r.MAC != checkpointMAC(v.key, r.Seq, r.Prev) {
		v.find(Finding{First: r.Seq, Problem: "checkpoint without a valid MAC: the trail up to here is not ours"})
	}
}

// loss notes what the trail says of itself. A gap that the machine's crash
// explains is one that the loss record behind it counts.
func (v *verifier) loss(line []byte) {
	r, err := decode(line)
	if err != nil || r.Kind != KindLoss {
		return
	}
	v.Losses = append(v.Losses, r)
	switch r.Reason {
	case ReasonPowerLoss:
		for first, last := range v.missing {
			if last+1 == r.Seq && last-first+1 == r.Lost {
				delete(v.missing, first)
			}
		}
	case ReasonHeadMissing, ReasonHeadDamaged, ReasonTailMissing, ReasonDamaged, ReasonAppended:
		v.find(Finding{First: r.Seq, Problem: "found when the trail was opened: " + explain(r.Reason)})
	}
}

// explain says what a loss that no crash explains means.
func explain(reason string) string {
	switch reason {
	case ReasonHeadMissing:
		return "the head is missing or not ours, so a cut tail could not have been found"
	case ReasonHeadDamaged:
		return "the head was changed"
	case ReasonTailMissing:
		return "the trail ended before its head says"
	case ReasonDamaged:
		return "the newest segment had been changed"
	case ReasonAppended:
		return "there were records behind the last one, which nobody but us may write"
	}
	return reason
}

func (v *verifier) reportMissing() {
	for first, last := range v.missing {
		v.find(Finding{First: first, Last: last, Problem: "missing"})
	}
}

// checkEnd holds the end of the trail against the head.
func (v *verifier) checkEnd() {
	switch {
	case !v.hasKey:
		v.find(Finding{Problem: "the key is missing, so a cut tail cannot be found"})
	case !v.hasHead:
		v.find(Finding{Problem: "the head is missing or not ours, so a cut tail cannot be found"})
	case v.Live && !v.atHead && !v.changed[v.head.seq]:
		v.cutTail()
	case !v.Live:
		v.checkLeft()
	}
}

func (v *verifier) cutTail() {
	if v.head.seq > v.Last {
		v.find(Finding{First: v.Last + 1, Last: v.head.seq, Problem: "cut off the end"})
		return
	}
	v.find(Finding{First: v.head.seq, Problem: "is not the record that the head names"})
}

// checkLeft reports what the next Open would find.
func (v *verifier) checkLeft() {
	for i := range v.left.loss {
		r := &v.left.loss[i]
		switch r.Reason {
		case ReasonTornLine:
			v.Notes = append(v.Notes, "the writer died in the middle of a record, which it had not acknowledged; the next start cuts it")
		case ReasonPowerLoss:
			v.Notes = append(v.Notes, fmt.Sprintf("the machine went down: %d records behind record %d were not on disk yet", r.Lost, v.Last))
		case ReasonTailMissing:
			if !v.changed[v.head.seq] {
				v.cutTail()
			}
		case ReasonDamaged:
			if v.OK() {
				v.find(Finding{Problem: explain(r.Reason)})
			}
		default:
			v.find(Finding{Problem: explain(r.Reason)})
		}
	}
	for _, torn := range v.head.torn {
		if torn && len(v.left.loss) == 0 {
			v.Notes = append(v.Notes, "one of the three slots of the head is not whole; the other two agree with the trail")
		}
	}
}

func (v *verifier) checkAnchors() {
	for i, a := range v.anchors {
		if !v.met[i] {
			v.find(Finding{First: a.Seq, Problem: "is not the one noted elsewhere, with hash " + a.Hash.String()})
		}
	}
}
