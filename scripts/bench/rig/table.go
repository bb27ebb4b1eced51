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

// table shows all workloads: what each peer cost, and what the product costs as
// a multiple of it, as the median over the ratios of the rounds.
func table(p *plan, all []sample) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", conditions(p))
	for _, w := range p.works {
		r := newRow(w, all)
		if len(r.peers) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n(%s) %s\n", w.key, w.title)
		r.write(&b)
		fmt.Fprintln(&b, r.verdict())
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

// row is one workload: the samples of each peer, by round.
type row struct {
	workload
	peers   []string
	samples map[string][]sample
}

func newRow(w workload, all []sample) *row {
	r := &row{workload: w, samples: map[string][]sample{}}
	for _, s := range all {
		if s.Work != w.key {
			continue
		}
		if !slices.Contains(r.peers, s.Peer) {
			r.peers = append(r.peers, s.Peer)
		}
		r.samples[s.Peer] = append(r.samples[s.Peer], s)
	}
	return r
}

func (r *row) write(b *strings.Builder) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\t%s\tmin\tmax\tproxy/client\trequests/s\tin\tup\tresumed\tforeign\toutwarden is\tby proxy/client\t\n", r.unit)
	for _, peer := range r.peers {
		costs := r.each(peer, func(s sample) float64 { return r.cost(s) })
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t", peer, short(median(costs)), short(slices.Min(costs)), short(slices.Max(costs)))
		fmt.Fprintf(t, "%.2f\t%.0f\t%s\t%s\t%s\t%.0f%%\t",
			median(r.each(peer, func(s sample) float64 { return s.load() })),
			median(r.each(peer, func(s sample) float64 { return ratio(float64(s.N), s.Seconds) })),
			r.perCall(peer, func(s sample) float64 { return float64(s.In) }),
			r.perCall(peer, func(s sample) float64 { return float64(s.Up) }),
			r.perCall(peer, func(s sample) float64 { return float64(s.Resumed) }),
			100*median(r.each(peer, func(s sample) float64 { return ratio(float64(s.Foreign)/1e6, s.Seconds) })))
		fmt.Fprintf(t, "%s\t%s\t\n", times(r.paired(peer, r.cost)), times(r.paired(peer, func(s sample) float64 { return s.load() })))
	}
	_ = t.Flush() // into memory
}

// cost is a sample's cost; of a latency it is what the proxy adds to direct, in
// the same round.
func (r *row) cost(s sample) float64 {
	if !r.latency || s.Peer == (direct{}).name() {
		return s.Cost
	}
	for _, d := range r.samples[(direct{}).name()] {
		if d.Round == s.Round {
			return s.Cost - d.Cost
		}
	}
	return s.Cost
}

// paired is the product's figure over the peer's: the median over the rounds
// that both took part in. 0: there is none.
func (r *row) paired(peer string, figure func(sample) float64) float64 {
	if peer == product || peer == (direct{}).name() {
		return 0
	}
	var ratios []float64
	for _, ours := range r.samples[product] {
		for _, theirs := range r.samples[peer] {
			if ours.Round == theirs.Round && figure(theirs) > 0 {
				ratios = append(ratios, figure(ours)/figure(theirs))
			}
		}
	}
	return median(ratios)
}

// verdict compares the product with its goal and with the best peer.
func (r *row) verdict() string {
	ours := r.samples[product]
	if len(ours) == 0 {
		return "  outwarden did not take part"
	}
	cost := median(r.each(product, func(s sample) float64 { return r.cost(s) }))
	var says []string
	if noise := r.noise(); noise > quiet {
		says = append(says, fmt.Sprintf("DISTURBED: others used %.0f%% of a core meanwhile", 100*noise))
	}
	best := r.best()
	if best != "" {
		says = append(says, fmt.Sprintf("%s x %s, the best peer", short(r.paired(best, r.cost)), best))
	}
	switch g := r.goal; {
	case g.limit > 0:
		says = append(says, fmt.Sprintf("goal %s %s: %s", short(g.limit), r.unit, reached(cost <= g.limit)))
	case g.ratio > 0:
		peer := g.peer
		if peer == "" {
			peer = best
		}
		if got := r.paired(peer, r.cost); peer != "" && got > 0 {
			says = append(says, fmt.Sprintf("goal %s x %s: %s at %s", short(g.ratio), peer, reached(got <= g.ratio), short(got)))
		}
	}
	return "  => " + strings.Join(says, "; ")
}

// quiet is how much of a core others may use in samples that count.
const quiet = 0.2

// noise is what others used of a core, in the median of all samples.
func (r *row) noise() float64 {
	var v []float64
	for _, peer := range r.peers {
		v = append(v, r.each(peer, func(s sample) float64 { return ratio(float64(s.Foreign)/1e6, s.Seconds) })...)
	}
	return median(v)
}

func reached(yes bool) string {
	if yes {
		return "reached"
	}
	return "MISSED"
}

// best is the peer with the lowest median.
func (r *row) best() string {
	var best string
	least := 0.0
	for _, peer := range r.peers {
		if peer == product || peer == (direct{}).name() {
			continue
		}
		cost := median(r.each(peer, func(s sample) float64 { return r.cost(s) }))
		if best == "" || cost < least {
			best, least = peer, cost
		}
	}
	return best
}

func (r *row) each(peer string, figure func(sample) float64) []float64 {
	var v []float64
	for _, s := range r.samples[peer] {
		v = append(v, figure(s))
	}
	return v
}

// perCall is a count per request.
func (r *row) perCall(peer string, count func(sample) float64) string {
	return fmt.Sprintf("%.2f", median(r.each(peer, func(s sample) float64 { return ratio(count(s), float64(s.N)) })))
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
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
