package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
)

// profiled samples the proxy's stacks while a workload runs, if that is wanted. All
// of the machine is sampled: where there are no hardware counters, as in many virtual
// machines, a clock that follows one task misses most of what it does.
func (b *bench) profiled(ctx context.Context, f func() error) error {
	if b.plan.profile == "" || b.peer.name() != product {
		return f()
	}
	file := b.plan.perf(b.work)
	c := exec.CommandContext(ctx, "perf", "record", "--quiet", "-e", "cpu-clock", "-F", "1999", "-a", "-g", "-o", file)
	if err := c.Start(); err != nil {
		return err
	}
	err := f()
	_ = c.Process.Signal(os.Interrupt)
	_ = c.Wait() // it ends by our signal
	return err
}

// perf is the file of a workload's profile.
func (p *plan) perf(w workload) string { return filepath.Join(p.profile, w.key+".perf") }

// area is a part of what a process's CPU goes to.
type area int

const (
	kernel area = iota
	crypto
	own
	libraries
	goRuntime
	areas
)

func (a area) String() string {
	return [areas]string{"kernel", "TLS and crypto", "our own code", "other libraries", "Go's runtime and library"}[a]
}

// areaOf says where a symbol belongs, by its own time: what it calls is counted
// where that belongs.
func areaOf(dso, symbol string) area {
	path, _, dotted := strings.Cut(symbol, "/")
	switch {
	case strings.HasPrefix(dso, "["):
		return kernel
	case path == "crypto" || strings.HasPrefix(symbol, "crypto.") || strings.Contains(symbol, "golang.org/x/crypto/"):
		return crypto
	case strings.HasPrefix(symbol, "github.com/outwarden/"):
		return own
	case dotted && strings.Contains(path, "."):
		return libraries
	}
	return goRuntime
}

// shares shows for each profile where the product's CPU went.
func (p *plan) shares(ctx context.Context) (string, error) {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "\nshare of the product's CPU\t")
	for a := range areas {
		fmt.Fprintf(t, "%v\t", a)
	}
	fmt.Fprintln(t)
	for _, w := range p.works {
		c := exec.CommandContext(ctx, "perf", "report", "-i", p.perf(w), "--comm", product, "--no-children", "--percentage", "relative",
			"-g", "none", "--sort", "dso,sym", "--stdio", "-t", "|")
		out, err := c.Output()
		if err != nil {
			return "", fmt.Errorf("perf report of (%s): %v", w.key, err)
		}
		fmt.Fprintf(t, "(%s)\t", w.key)
		for _, share := range sharesOf(strings.NewReader(string(out))) {
			fmt.Fprintf(t, "%.0f%%\t", share)
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush() // into memory
	fmt.Fprintf(&b, "profiles: %s\n", p.profile)
	return b.String(), nil
}

// sharesOf sums a report up: lines of PERCENT%|DSO|[.] SYMBOL.
func sharesOf(report io.Reader) (sum [areas]float64) {
	for lines := bufio.NewScanner(report); lines.Scan(); {
		f := strings.SplitN(lines.Text(), "|", 3)
		percent, ok := strings.CutSuffix(strings.TrimSpace(f[0]), "%")
		if !ok || len(f) < 3 {
			continue
		}
		share, err := strconv.ParseFloat(percent, 64)
		if err != nil {
			continue
		}
		_, symbol, _ := strings.Cut(f[2], "] ")
		sum[areaOf(f[1], strings.TrimSpace(symbol))] += share
	}
	return sum
}
