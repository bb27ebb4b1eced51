// Command rig measures Outwarden and its peers side by side: `make bench`.
//
//	netns "host"                              netns "internet"
//	client ── lo ── peer or Outwarden ── veth ── origin (nginx and our own)
//
// Client, proxy and origin each live in a cgroup of their own, whose cpu.stat
// says what they cost. Outwarden takes the client's connections in the kernel,
// by that cgroup. A peer gets them without any redirect, which is the cheapest
// way to reach it: its clients find the names at 127.0.0.1. All verify the
// origin, inject one bearer token that the origin insists on, and present P-256
// leaves; every connection uses TLS_AES_128_GCM_SHA256 and X25519.
//
// A sample starts one proxy afresh, proves that it does the work (proof.go),
// warms it up, measures and stops it. Samples are interleaved: for each round and
// workload all peers come after one another, because the speed of a shared host
// drifts within minutes. What counts is the ratio within a round. The proxy's CPU
// over the client's in the same sample (proxy/client) drifts less, but compares
// only where clients have the same work with every proxy: (a), (b), (br). In (c)
// and (d) they pay for records and frames as the proxy cut them. A row that others
// disturbed is marked; measure it again.
//
// With -profile DIR, perf records stacks, and where the product's CPU went is summed
// up; for more: perf report --comm outwarden -i DIR/a.perf.
//
// A workload is one value in a work_*.go file, a peer one type in a peer_*.go
// file. Everything lives in a mount namespace of its own and ends with it, the
// cgroups excepted, which are removed.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// openFiles is what each process may have.
const openFiles = 20000

// inside is set in the environment of the copy that has its own mounts.
const inside = "OUTWARDEN_BENCH_INSIDE"

func main() {
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func start() error {
	p, err := parse(os.Args[1:])
	if err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return errors.New("needs root, for BPF and network namespaces")
	}
	if os.Getenv(inside) == "" {
		return again()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return measure(ctx, p)
}

// again runs this program in a mount namespace of its own, from which nothing
// that it mounts gets out. Signals go to both; the copy cleans up.
func again() error {
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(os.Environ(), inside+"=1")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if err := c.Start(); err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for s := range signals {
			_ = c.Process.Signal(s)
		}
	}()
	if err := c.Wait(); err != nil {
		return errors.New("the run failed")
	}
	return nil
}

// measure takes all samples of a plan and prints what they say.
func measure(ctx context.Context, p *plan) (err error) {
	files := syscall.Rlimit{Cur: openFiles, Max: openFiles}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("allow %d open files: %v", openFiles, err)
	}
	w, err := newWorld(p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	results, err := os.OpenFile(p.out, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer results.Close()
	all, err := p.samples(ctx, w, results)
	if len(all) > 0 && !p.short {
		fmt.Print(p.render(all))
		fmt.Printf("\nsamples: %s\n", p.out)
	}
	if err != nil || p.profile == "" {
		return err
	}
	shares, err := p.shares(ctx)
	fmt.Print(shares)
	return err
}

// render is the table in the form that was asked for.
func (p *plan) render(all []sample) string {
	switch {
	case p.grow:
		return growthTable(p, all)
	case p.paste:
		return markdown(p, all)
	}
	return table(p, all)
}
