package main

// markdown is the table as README has it: one line for each figure.
func markdown(p *plan, all []sample) string {
	lines := [][]string{{"", "work", "unit", "peers: best, and that of the goal", "Outwarden", "ratio (rounds)", "goal", ""}}
	for _, r := range rows(p.works, all) {
		v := r.verdict()
		lines = append(lines, []string{"(" + r.key + ")", r.title, r.unit, r.against(v), short(v.ours), v.spread(), v.atMost(), v.mark()})
	}
	return pasted(lines) + "\n" + conditions(p) + ".\n"
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
