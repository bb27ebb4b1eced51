package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// growth is the other table: what a request costs when something grows, all else
// being as in (a). Its keys are DIMENSION=VALUE.
func growth() []workload {
	var works []workload
	for _, n := range []int{10, 100, 1000} {
		works = append(works, grown("connections", strconv.Itoa(n), setup{beside: "nginx"}, inTurns(n)))
	}
	works = append(works, grown("connections", "10000", setup{beside: "nginx"}, byMany(2, 10000))) // more than the share of one
	for _, n := range []int{10, 100, 10000} {
		works = append(works, grown("routes", strconv.Itoa(n), setup{routes: n}, wrkCalls))
	}
	for _, n := range []int{1, 8, 64} {
		works = append(works, grown("identities", strconv.Itoa(n), setup{}, byMany(n, 64)))
	}
	for _, rate := range []int{1000, 6000} {
		for _, synced := range []bool{false, true} {
			value := fmt.Sprintf("%d a second", rate)
			if synced {
				value += " synced"
			}
			works = append(works, grown("records", value, setup{synced: synced}, paced(rate)))
		}
	}
	for _, n := range []int{1, 2} {
		works = append(works, grown("cores", strconv.Itoa(n), setup{cores: n, beside: "nginx"}, wrkCalls))
	}
	for _, scrub := range []string{"off", "on"} {
		works = append(works,
			grown("scrub", scrub, setup{scrub: scrub}, wrkCalls),
			grown("scrub-bulk", scrub, setup{scrub: scrub}, download().measure),
			onStreams(grown("scrub-events", scrub, setup{scrub: scrub}, events().measure)))
	}
	return works
}

// onStreams counts messages, which are no requests.
func onStreams(w workload) workload {
	w.live = true
	return w
}

type measurement func(ctx context.Context, b *bench, s *sample) error

func grown(dimension, value string, as setup, measure measurement) workload {
	as.dimension, as.value = dimension, value
	return workload{
		key: dimension + "=" + value, protocol: http1, alone: true, setup: as, measure: measure,
		figures: []figure{{title: value + " " + dimension, unit: "us/request", of: perRequest}},
	}
}

// wrkCalls is (a).
func wrkCalls(ctx context.Context, b *bench, s *sample) error {
	if err := b.warm(ctx); err != nil {
		return err
	}
	return b.byWrk(ctx, s, "/1k", 64)
}

// inTurns has n connections stand, of which 64 call at a time.
func inTurns(n int) measurement {
	return func(ctx context.Context, b *bench, s *sample) error {
		return b.held(ctx, s, "-mode", "turns", "-c", strconv.Itoa(n), "-url", b.url(apiName, "/1k"))
	}
}

// paced has so many requests, and so many records, in a second.
func paced(rate int) measurement {
	return func(ctx context.Context, b *bench, s *sample) error {
		if err := b.warm(ctx); err != nil {
			return err
		}
		return b.byClient(ctx, s, "-mode", "rate", "-rate", strconv.Itoa(rate), "-c", "64", "-url", b.url(apiName, "/1k"))
	}
}

// byMany shares connections between n processes, each with an executable and a cgroup of
// its own.
func byMany(n, connections int) measurement {
	return func(ctx context.Context, b *bench, s *sample) error {
		if err := b.calm(ctx); err != nil {
			return err
		}
		var all []*holder
		for i := range n {
			r, program, err := b.another(i)
			if err != nil {
				return err
			}
			defer func() { _ = r.remove() }() // what ends with the bench may stay until then
			h, err := b.holdAs(ctx, r, program, "-d", b.length.String(), "-mode", "turns", "-c", strconv.Itoa(connections/n), "-url", b.url(apiName, "/1k"))
			if err != nil {
				return err
			}
			all = append(all, h)
		}
		return b.during(s, func() error { return together(all, s) })
	}
}

// another is the client program under another name, and a cgroup below the client's.
func (b *bench) another(i int) (*role, string, error) {
	program := b.path("clients", strconv.Itoa(i))
	if err := os.Link(b.program("client"), program); err != nil && !os.IsExist(err) {
		return nil, "", err
	}
	r := &role{filepath.Join(b.client.dir, strconv.Itoa(i)), b.client.ns, b.client.core}
	return r, program, os.Mkdir(r.dir, 0o755)
}

func (r *role) remove() error {
	if err := r.kill(); err != nil {
		return err
	}
	return os.Remove(r.dir)
}

// together releases all holders at once, and adds their reports up.
func together(all []*holder, s *sample) error {
	type report struct {
		answer
		err error
	}
	reports := make(chan report)
	for _, h := range all {
		go func() {
			a, err := h.release()
			reports <- report{a, err}
		}()
	}
	var failed error
	for range all {
		r := <-reports
		if r.err != nil {
			failed = r.err
		}
		n, errs := s.N, s.Errors
		s.take(r.answer)
		s.N, s.Errors = s.N+n, s.Errors+errs
	}
	return failed
}
