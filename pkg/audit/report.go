package audit

import (
	"fmt"
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
