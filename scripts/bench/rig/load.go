package main

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"
)

// wrk counts in whole seconds, and so does h2load here.
func (b *bench) wrk(path string, conns int, length time.Duration) command {
	return command{
		args: []string{"wrk", "-t1", fmt.Sprintf("-c%d", conns), fmt.Sprintf("-d%.0f", math.Ceil(length.Seconds())), "--timeout", "20s", b.url(apiName, path)},
		env:  []string{"OPENSSL_CONF=" + b.path("openssl.cnf")},
	}
}

func (b *bench) h2load(conns, streams int, length time.Duration) command {
	return command{
		args: []string{
			"h2load", "-t1", fmt.Sprintf("-c%d", conns), fmt.Sprintf("-m%d", streams),
			fmt.Sprintf("-D%.0f", math.Ceil(length.Seconds())), "--warm-up-time=0", b.url(apiName, "/1k"),
		},
		env: []string{"OPENSSL_CONF=" + b.path("openssl.cnf")},
	}
}

var (
	wrkCount   = regexp.MustCompile(`(\d+) requests in `)
	wrkErrors  = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	wrkRefused = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
	h2Count    = regexp.MustCompile(`requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed`)
	h2Status   = regexp.MustCompile(`status codes: (\d+) 2xx`)
	h2Protocol = regexp.MustCompile(`Application protocol: (\S+)`)
)

// byWrk measures a run of wrk.
func (b *bench) byWrk(ctx context.Context, s *sample, path string, conns int) error {
	var out []byte
	err := b.during(s, func() error {
		return b.profiled(ctx, func() (err error) {
			out, err = b.client.output(ctx, b.wrk(path, conns, b.length))
			return err
		})
	})
	if err != nil {
		return err
	}
	return s.readWrk(out)
}

// readWrk fills in what wrk printed.
func (s *sample) readWrk(out []byte) error {
	m := wrkCount.FindSubmatch(out)
	if m == nil {
		return fmt.Errorf("wrk said %q", tail(out))
	}
	s.N = number(m[1])
	if m := wrkErrors.FindSubmatch(out); m != nil {
		s.Errors = number(m[1]) + number(m[2]) + number(m[3]) + number(m[4])
	}
	if m := wrkRefused.FindSubmatch(out); m != nil {
		s.N, s.Errors = s.N-number(m[1]), s.Errors+number(m[1])
	}
	if s.Errors > 0 {
		s.FirstError = tail(out)
	}
	return nil
}

// byH2load measures a run of h2load.
func (b *bench) byH2load(ctx context.Context, s *sample, conns, streams int) error {
	var out []byte
	err := b.during(s, func() error {
		return b.profiled(ctx, func() (err error) {
			out, err = b.client.output(ctx, b.h2load(conns, streams, b.length))
			return err
		})
	})
	if err != nil {
		return err
	}
	return s.readH2load(out)
}

// readH2load fills in what h2load printed.
func (s *sample) readH2load(out []byte) error {
	count, status := h2Count.FindSubmatch(out), h2Status.FindSubmatch(out)
	if count == nil || status == nil {
		return fmt.Errorf("h2load said %q", tail(out))
	}
	s.N, s.Errors = number(status[1]), number(count[2])
	if refused := number(count[1]) - s.N; refused > 0 {
		s.Errors += refused
	}
	if m := h2Protocol.FindSubmatch(out); m != nil {
		s.Protocol = string(m[1])
	}
	if s.Errors > 0 {
		s.FirstError = tail(out)
	}
	return nil
}

// byClient measures a run of the client program.
func (b *bench) byClient(ctx context.Context, s *sample, args ...string) error {
	args = append([]string{"-d", b.length.String()}, args...)
	var a answer
	err := b.during(s, func() error {
		return b.profiled(ctx, func() (err error) {
			a, err = b.ask(ctx, args...)
			return err
		})
	})
	s.take(a)
	return err
}

// take fills in what the client program reported.
func (s *sample) take(a answer) {
	s.N, s.Errors, s.FirstError, s.Resumed = a.N, a.Errors, a.FirstError, a.Resumed
	s.P50, s.P99, s.Second = a.P50, a.P99, a.Extra.Second
}

func number(b []byte) int {
	n, err := strconv.Atoi(string(b))
	if err != nil {
		return 0 // the expressions let nothing but digits through
	}
	return n
}
