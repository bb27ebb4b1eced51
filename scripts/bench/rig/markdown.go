package main

import (
	"fmt"
	"strings"
)

// markdown is the table as README has it: one line for each figure.
func markdown(p *plan, all []sample) string {
	var b strings.Builder
	fmt.Fprintln(&b, "| | work | unit | peers: best, and that of the goal | Outwarden | ratio (rounds) | goal | |")
	fmt.Fprintln(&b, "|---|---|---|---|---|---|---|---|")
	for _, r := range rows(p.works, all) {
		v := r.verdict()
		fmt.Fprintf(&b, "| (%s) | %s | %s | %s | %s | %s | %s | %s |\n",
			r.key, r.title, r.unit, r.against(v), short(v.ours), v.spread(), v.atMost(), v.mark())
	}
	fmt.Fprintf(&b, "\n%s.\n", conditions(p))
	return b.String()
}

// against is what the best peer costs, and that of the goal.
func (r *row) against(v *verdict) string {
	if v.best == "" {
		return ""
	}
	text := v.best + " " + short(r.median(v.best))
	if len(r.samples[v.to]) > 0 && v.to != v.best {
		text += ", " + v.to + " " + short(r.median(v.to))
	}
	return text
}

func (v *verdict) atMost() string {
	if v.goal.noise || v.goal == (goal{}) {
		return v.wanted()
	}
	return "≤ " + v.wanted()
}

// mark is the outcome, and whether to believe it.
func (v *verdict) mark() string {
	if !v.judged() {
		return ""
	}
	if v.disturbed > quiet {
		return v.outcome() + ", disturbed"
	}
	return v.outcome()
}
