package main

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// table shows all figures: what each peer cost, and what the product costs as a
// multiple of it, as the median over the ratios of the rounds.
func table(p *plan, all []sample) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", conditions(p))
	for _, r := range rows(p.works, all) {
		fmt.Fprintf(&b, "\n(%s) %s\n", r.key, r.title)
		r.write(&b)
		if verdict := r.verdict().String(); verdict != "" {
			fmt.Fprintf(&b, "  => %s\n", verdict)
		}
	}
	return b.String()
}

// conditions is what a reader needs to know of the run.
func conditions(p *plan) string {
	var u unix.Utsname
	_ = unix.Uname(&u) // an empty release says enough
	layout := "proxy on core 0, client and origin on core 1"
	if !p.pin {
		layout = "all on any core"
	}
	return fmt.Sprintf("%s, kernel %s, %s, %s; %s; %d rounds of %d s",
		time.Now().Format(time.DateOnly), unix.ByteSliceToString(u.Release[:]), version("nginx", "-v"), version("haproxy", "-v"),
		layout, p.rounds, p.seconds)
}

// version is the first line of what a program says of itself.
func version(name, flag string) string {
	out, _ := exec.Command(name, flag).CombinedOutput() // no answer, no version
	line, _, _ := strings.Cut(string(out), "\n")
	line = strings.TrimPrefix(line, "nginx version: ")
	if words := strings.Fields(line); len(words) > 3 {
		line = strings.Join(words[:3], " ")
	}
	return line
}

func (r *row) write(b *strings.Builder) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\t%s\tmin\tmax\tproxy/client\trequests/s\tin\tup\tresumed\tforeign\toutwarden is\tby proxy/client\t\n", r.unit)
	for _, peer := range r.peers {
		costs := r.each(peer, r.cost)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t", peer, short(median(costs)), short(slices.Min(costs)), short(slices.Max(costs)))
		fmt.Fprintf(t, "%.2f\t%.0f\t%s\t%s\t%s\t%.0f%%\t",
			median(r.each(peer, (*sample).load)),
			median(r.each(peer, (*sample).perSecond)),
			r.perCall(peer, func(s *sample) int64 { return s.In }),
			r.perCall(peer, func(s *sample) int64 { return s.Up }),
			r.perCall(peer, func(s *sample) int64 { return int64(s.Resumed) }),
			100*median(r.each(peer, (*sample).foreign)))
		fmt.Fprintf(t, "%s\t%s\t\n", times(median(r.paired(peer, r.cost))), times(median(r.paired(peer, (*sample).load))))
	}
	_ = t.Flush() // into memory
}

// perCall is a count per request.
func (r *row) perCall(peer string, count func(*sample) int64) string {
	return fmt.Sprintf("%.2f", median(r.each(peer, func(s *sample) float64 { return ratio(float64(count(s)), float64(s.N)) })))
}

// times writes a ratio, or nothing.
func times(r float64) string {
	if r == 0 {
		return ""
	}
	return short(r) + " x"
}

// short writes a figure with three digits.
func short(v float64) string {
	if v >= 100 || v <= -100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
