package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// plan is what to measure.
type plan struct {
	peers   []peer
	works   []workload
	rounds  int
	seconds int
	pin     bool // the proxy has core 0, all others have core 1
	short   bool // only shows that the rig runs
	paste   bool // the table as Markdown
	grow    bool // the table of growth instead
	idle    []int

	patience time.Duration // with a busy machine, per sample

	programs  string // directory of client, origin and the Go peers
	outwarden string // the product
	profile   string // directory for profiles of Outwarden; "": none
	out       string // file of the samples
}

func parse(args []string) (*plan, error) {
	p := &plan{}
	f := flag.NewFlagSet("rig", flag.ContinueOnError)
	peers := f.String("peers", "", "comma-separated; default all: "+strings.Join(names(allPeers()), ","))
	works := f.String("work", "", "comma-separated; default all: "+strings.Join(keys(allWorkloads(p)), ","))
	free := f.Bool("free", false, "two cores for everybody, instead of one for the proxy")
	f.IntVar(&p.rounds, "rounds", 3, "how many times everything is measured")
	f.IntVar(&p.seconds, "seconds", 3, "length of a sample")
	f.BoolVar(&p.short, "short", false, "one brief round with few peers: does the rig run?")
	f.BoolVar(&p.paste, "markdown", false, "print the table as Markdown, as README has it")
	f.BoolVar(&p.grow, "grow", false, "how cost grows, with nginx beside where that says something; -work is then one of "+strings.Join(keys(growth()), ","))
	f.DurationVar(&p.patience, "patience", 10*time.Second, "how long a sample waits for an idle machine")
	f.StringVar(&p.programs, "programs", "", "directory of the rig's programs")
	f.StringVar(&p.outwarden, "outwarden", "bin/outwarden", "the product")
	f.StringVar(&p.profile, "profile", "", "directory for a perf profile of Outwarden in each workload; its figures are then too high")
	f.StringVar(&p.out, "out", "", "append the samples to this file; default one in the temporary directory")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	p.pin, p.idle = !*free, []int{1000, 5000}
	if p.short {
		p.rounds, p.idle = 1, []int{50, 100}
	}
	if err := p.paths(); err != nil {
		return nil, err
	}
	if p.profile != "" {
		if err := os.MkdirAll(p.profile, 0o755); err != nil {
			return nil, err
		}
	}
	var err error
	if p.peers, err = choose(allPeers(), names, *peers); err != nil {
		return nil, err
	}
	all := allWorkloads(p)
	if p.grow {
		all = growth()
	}
	p.works, err = choose(all, keys, *works)
	return p, err
}

// paths makes the paths absolute, because the programs run elsewhere.
func (p *plan) paths() error {
	switch {
	case p.out == "" && p.short:
		p.out = os.DevNull
	case p.out == "":
		p.out = filepath.Join(os.TempDir(), "outwarden-bench-"+time.Now().Format("20060102-150405")+".jsonl")
	}
	for _, path := range []*string{&p.programs, &p.outwarden, &p.profile, &p.out} {
		if *path == "" {
			continue
		}
		full, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = full
	}
	return nil
}

// choose picks those of all that are named in list, in the order of all.
func choose[T any](all []T, names func([]T) []string, list string) ([]T, error) {
	if list == "" {
		return all, nil
	}
	wanted := strings.Split(list, ",")
	var chosen []T
	for i, name := range names(all) {
		if at := slices.Index(wanted, name); at >= 0 {
			chosen = append(chosen, all[i])
			wanted = slices.Delete(wanted, at, at+1)
		}
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("no such choice: %s (there are %s)", strings.Join(wanted, ","), strings.Join(names(all), ","))
	}
	return chosen, nil
}

// cores is how many worker threads a proxy gets.
func (p *plan) cores() int {
	if p.pin {
		return 1
	}
	return 2
}

// samples takes every sample, interleaved. A sample that fails does not stop
// the others.
func (p *plan) samples(ctx context.Context, w *world, out io.Writer) ([]sample, error) {
	var all []sample
	var failed error
	for round := range p.rounds {
		for _, work := range p.works {
			for _, pr := range p.taking(work) {
				if ctx.Err() != nil {
					return all, ctx.Err()
				}
				s, err := p.sample(ctx, w, pr, work)
				s.Round = round + 1
				if err != nil {
					failed = errors.Join(failed, fmt.Errorf("%s with %s: %v", work.key, pr.name(), err))
					s.Failure = err.Error()
				}
				fmt.Println(s.line())
				if err := json.NewEncoder(out).Encode(s); err != nil {
					return all, err
				}
				if err == nil {
					all = append(all, s)
				}
			}
		}
	}
	return all, failed
}

// taking is who takes part in a workload. The short form has the product do all
// of them and each peer one of each kind and protocol.
func (p *plan) taking(work workload) []peer {
	return slices.DeleteFunc(slices.Clone(p.peers), func(pr peer) bool {
		switch {
		case !pr.does(work), work.alone && pr.name() != product && pr.name() != work.beside:
			return true
		case !p.short || pr.name() == product:
			return false
		}
		first := slices.IndexFunc(p.works, func(other workload) bool {
			return other.kind == work.kind && other.protocol == work.protocol && pr.does(other)
		})
		return p.works[first].key != work.key
	})
}

// sample starts a proxy, proves it, measures it and stops it.
func (p *plan) sample(ctx context.Context, w *world, pr peer, work workload) (s sample, err error) {
	s = sample{Peer: pr.name(), Work: work.key, Mode: p.mode()}
	b, err := w.launch(pr, work)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	if err := b.prove(ctx); err != nil {
		return s, err
	}
	if err := b.measure(ctx, &s); err != nil {
		return s, err
	}
	s.Cost = work.figures[0].of(&s)
	return s, errors.Join(s.check(work), b.settle(&s))
}

// The length of the short form's samples, and of those that it takes again.
const (
	briefly = 250 * time.Millisecond
	longest = 16 * time.Second
)

// length of a sample.
func (p *plan) length() time.Duration {
	if p.short {
		return briefly
	}
	return time.Duration(p.seconds) * time.Second
}

// measure takes a sample. On a machine that others keep busy the short form's may
// see no answer to its end; it is then taken again, twice as long.
func (b *bench) measure(ctx context.Context, s *sample) error {
	for {
		as := *s
		err := b.work.measure(ctx, b, s)
		if err != nil || s.N > 0 || !b.plan.short || b.length >= longest {
			return err
		}
		*s = as
		b.length *= 2
	}
}

func (p *plan) mode() string {
	if p.pin {
		return "pin"
	}
	return "free"
}
