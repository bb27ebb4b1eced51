package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// growthTable shows what a request costs at each value of a dimension, and that
// as a multiple of the first value in the same round.
func growthTable(p *plan, all []sample) string {
	lines := [][]string{{"grows", "to", "us/request", "x the first", "requests/s", "p50 us", "MB", "nginx: us/request", "x the first"}}
	first := map[string]*row{}
	for _, w := range p.works {
		r := newRow(w.key, w.figures[0], all)
		if len(r.samples[product]) == 0 {
			continue
		}
		if first[w.dimension] == nil {
			first[w.dimension] = r
		}
		lines = append(lines, r.growth(w.setup, first[w.dimension]))
	}
	if p.paste {
		return pasted(lines) + "\n" + conditions(p) + ".\n"
	}
	return "\n" + conditions(p) + "\n\n" + aligned(lines)
}

// growth is one line of the table.
func (r *row) growth(as setup, first *row) []string {
	line := []string{as.dimension, as.value, short(r.median(product)), short(median(r.over(first, product)))}
	for _, of := range []func(*sample) float64{(*sample).perSecond, p50, (*sample).megabytes} {
		line = append(line, short(median(r.each(product, of))))
	}
	if as.beside == "" {
		return append(line, "", "")
	}
	return append(line, short(r.median(as.beside)), short(median(r.over(first, as.beside))))
}

// over is a peer's cost as a multiple of that in another row, by round.
func (r *row) over(first *row, peer string) []float64 {
	var ratios []float64
	for _, here := range r.samples[peer] {
		for _, there := range first.samples[peer] {
			if here.Round == there.Round {
				ratios = append(ratios, ratio(r.of(&here), first.of(&there)))
			}
		}
	}
	return ratios
}

func aligned(lines [][]string) string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, line := range lines {
		fmt.Fprintln(t, strings.Join(line, "\t")+"\t")
	}
	_ = t.Flush() // into memory
	return b.String()
}

// pasted is a table in Markdown; its first line is the head.
func pasted(lines [][]string) string {
	var b strings.Builder
	for i, line := range lines {
		fmt.Fprintln(&b, "| "+strings.Join(line, " | ")+" |")
		if i == 0 {
			fmt.Fprintln(&b, strings.Repeat("|---", len(line))+"|")
		}
	}
	return b.String()
}
