package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// idle is (e): memory of connections that did one request and wait. i chooses
// from the plan's numbers of connections.
func idle(p *plan, i int) workload {
	n := 0
	if i < len(p.idle) {
		n = p.idle[i]
	}
	w := workload{
		key: fmt.Sprintf("e%d", i+1), title: fmt.Sprintf("memory of %d idle TLS connections", n), unit: "kB/connection",
		measure: func(ctx context.Context, b *bench, s *sample) error { return b.hold(ctx, s, n) },
	}
	if n == 5000 {
		w.goal = goal{limit: 12}
	}
	return w
}

// rest is how long the proxy may tidy up before its memory is read.
func (b *bench) rest() time.Duration {
	if b.plan.short {
		return 100 * time.Millisecond
	}
	return 2 * time.Second
}

// hold reads the proxy's memory before and while the connections stand.
func (b *bench) hold(ctx context.Context, s *sample, n int) error {
	in, release, err := os.Pipe()
	if err != nil {
		return err
	}
	defer release.Close()
	words, out, err := os.Pipe()
	if err != nil {
		return errors.Join(err, in.Close())
	}
	defer words.Close()
	s.Before = b.proxy.resident()
	err = b.during(s, func() error {
		cmd, err := b.client.start(command{
			args: []string{b.program("client"), "-ca", b.roots(), "-mode", "idle", "-c", fmt.Sprint(n), "-url", b.url(apiName, "/1k")},
			in:   in, out: out, log: out,
		})
		if err := errors.Join(err, in.Close(), out.Close()); err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
		defer stop()
		err = b.heldBy(words, release, s)
		return errors.Join(err, cmd.Wait())
	})
	s.Cost = ratio(float64(s.Held-s.Before)/1000, float64(s.N))
	return err
}

// heldBy follows what the client program says.
func (b *bench) heldBy(words io.Reader, release io.Closer, s *sample) error {
	lines := bufio.NewScanner(words)
	if !lines.Scan() || lines.Text() != "held" {
		return fmt.Errorf("client said %q", lines.Text())
	}
	<-time.After(b.rest())
	s.Held = b.proxy.resident()
	release.Close()
	if !lines.Scan() {
		return errors.New("client ended without a report")
	}
	var a answer
	if err := a.parse(lines.Bytes()); err != nil {
		return err
	}
	s.take(a)
	return nil
}
