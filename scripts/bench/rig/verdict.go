package main

import (
	"fmt"
	"slices"
	"strings"
)

// quiet is how much of a core others may use in samples that count.
const quiet = 0.2

// verdict is what a row says of the product. A goal is reached if the median of
// the rounds reaches it; if not every round agrees, that is told.
type verdict struct {
	ours      float64
	unit      string
	best, to  string    // peers: with the lowest median, and that of the goal; "": none
	ratios    []float64 // to the latter, by round
	toBest    float64
	goal      goal
	reached   bool
	agreeing  int // rounds
	rounds    int
	disturbed float64 // share of a core that others used
}

func (r *row) verdict() *verdict {
	v := &verdict{ours: r.median(product), unit: r.unit, best: r.best(), goal: r.goal, rounds: len(r.samples[product])}
	v.disturbed, v.to = r.noise(), v.best
	if v.goal.peer != "" {
		v.to = v.goal.peer
	}
	v.toBest, v.ratios = median(r.paired(v.best, r.cost)), r.paired(v.to, r.cost)
	switch g := v.goal; {
	case g.limit > 0:
		v.judge(r.each(product, r.cost), g.limit)
	case g.noise && v.best != "":
		v.judge(r.each(product, r.cost), slices.Max(r.each(v.best, r.cost)))
	case g.ratio > 0:
		v.judge(v.ratios, g.ratio)
	}
	return v
}

// judge compares the rounds' figures with what they may be at most.
func (v *verdict) judge(figures []float64, most float64) {
	v.reached, v.agreeing, v.rounds = median(figures) <= most, 0, len(figures)
	for _, f := range figures {
		if (f <= most) == v.reached {
			v.agreeing++
		}
	}
}

// judged reports whether there was a goal, and something to compare with it.
func (v *verdict) judged() bool { return v.goal != (goal{}) && v.agreeing > 0 }

// String is the line below a row.
func (v *verdict) String() string {
	if v.rounds == 0 && v.ours == 0 {
		return "outwarden did not take part"
	}
	var says []string
	if v.disturbed > quiet {
		says = append(says, fmt.Sprintf("DISTURBED: others used %.0f%% of a core meanwhile", 100*v.disturbed))
	}
	if v.toBest > 0 {
		says = append(says, fmt.Sprintf("%s x %s, the best peer", short(v.toBest), v.best))
	}
	if v.judged() {
		says = append(says, "goal "+v.wanted()+": "+v.outcome())
		if v.goal.ratio > 0 {
			says[len(says)-1] += " at " + v.spread()
		}
	}
	return strings.Join(says, "; ")
}

// wanted is the goal in words.
func (v *verdict) wanted() string {
	switch {
	case v.goal.limit > 0:
		return short(v.goal.limit) + " " + v.unit
	case v.goal.noise:
		return "no worse than " + v.best + "'s worst round"
	case v.goal.ratio > 0:
		return short(v.goal.ratio) + " x " + v.to
	}
	return ""
}

func (v *verdict) outcome() string {
	word := "MISSED"
	if v.reached {
		word = "reached"
	}
	if v.agreeing < v.rounds {
		word += fmt.Sprintf(" (in %d of %d rounds)", v.agreeing, v.rounds)
	}
	return word
}

// spread is the median ratio, and those of the best and the worst round.
func (v *verdict) spread() string {
	if len(v.ratios) == 0 {
		return ""
	}
	text, low, high := short(median(v.ratios)), short(slices.Min(v.ratios)), short(slices.Max(v.ratios))
	if low == high {
		return text
	}
	return fmt.Sprintf("%s (%s to %s)", text, low, high)
}
