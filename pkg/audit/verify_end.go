package audit

import "fmt"

// What the trail says of itself, and whether it ends where the head says.

func (v *verifier) checkpoint(line []byte) {
	r, err := decode(line, &v.shelf)
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
	r, err := decode(line, &v.shelf)
	if err != nil || r.Kind != KindLoss {
		return
	}
	v.Losses = append(v.Losses, r)
	if why := r.Suspicion(); why != "" {
		v.find(Finding{First: r.Seq, Problem: "found when the trail was opened: " + why})
	}
	if r.Reason == ReasonPowerLoss {
		for first, last := range v.missing {
			if last+1 == r.Seq && last-first+1 == r.Lost {
				delete(v.missing, first)
			}
		}
	}
}

// Suspicion is what a loss means that no crash explains; "" of any other record.
func (r *Record) Suspicion() string {
	switch r.Reason {
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
	return ""
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
				v.find(Finding{Problem: r.Suspicion()})
			}
		default:
			v.find(Finding{Problem: r.Suspicion()})
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
