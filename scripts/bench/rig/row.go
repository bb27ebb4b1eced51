package main

import "slices"

// row is one figure of a workload: the samples of each peer, by round.
type row struct {
	key string
	figure
	peers   []string
	samples map[string][]sample
}

// rows are the figures of all workloads that have samples.
func rows(works []workload, all []sample) []*row {
	var list []*row
	for _, w := range works {
		for _, f := range w.figures {
			if r := newRow(w.key, f, all); len(r.peers) > 0 {
				list = append(list, r)
			}
		}
	}
	return list
}

func newRow(key string, f figure, all []sample) *row {
	r := &row{key: key, figure: f, samples: map[string][]sample{}}
	for _, s := range all {
		if s.Work != key {
			continue
		}
		if !slices.Contains(r.peers, s.Peer) {
			r.peers = append(r.peers, s.Peer)
		}
		r.samples[s.Peer] = append(r.samples[s.Peer], s)
	}
	return r
}

// cost is what a sample shows; of an added figure, what the proxy adds to direct
// in the same round.
func (r *row) cost(s *sample) float64 {
	if !r.added || s.Peer == (direct{}).name() {
		return r.of(s)
	}
	for _, d := range r.samples[(direct{}).name()] {
		if d.Round == s.Round {
			return r.of(s) - r.of(&d)
		}
	}
	return r.of(s)
}

// paired is the product's figure over the peer's, for each round that both took
// part in.
func (r *row) paired(peer string, figure func(*sample) float64) []float64 {
	if peer == product || peer == (direct{}).name() {
		return nil
	}
	var ratios []float64
	for _, ours := range r.samples[product] {
		for _, theirs := range r.samples[peer] {
			if it := figure(&theirs); ours.Round == theirs.Round && it > 0 {
				ratios = append(ratios, figure(&ours)/it)
			}
		}
	}
	return ratios
}

// best is the peer with the lowest median.
func (r *row) best() string {
	var best string
	for _, peer := range r.peers {
		if peer == product || peer == (direct{}).name() {
			continue
		}
		if best == "" || r.median(peer) < r.median(best) {
			best = peer
		}
	}
	return best
}

func (r *row) median(peer string) float64 { return median(r.each(peer, r.cost)) }

func (r *row) each(peer string, figure func(*sample) float64) []float64 {
	var v []float64
	for _, s := range r.samples[peer] {
		v = append(v, figure(&s))
	}
	return v
}

// noise is what others used of a core, in the median of all samples.
func (r *row) noise() float64 {
	var v []float64
	for _, peer := range r.peers {
		v = append(v, r.each(peer, (*sample).foreign)...)
	}
	return median(v)
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
