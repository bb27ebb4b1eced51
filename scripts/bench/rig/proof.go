package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	soon = 30 * time.Second      // how long a proxy may take to start, on a busy machine
	poll = 20 * time.Millisecond // between two looks at whether it has
)

// answer is the report of the client program.
type answer struct {
	N          int     `json:"n"`
	Errors     int     `json:"errors"`
	FirstError string  `json:"first_error"`
	Resumed    int     `json:"resumed"`
	Seconds    float64 `json:"seconds"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	Extra      struct {
		Issuer   string  `json:"issuer"`
		Protocol string  `json:"protocol"`
		Status   int     `json:"status"`
		Seen     string  `json:"seen"`
		Second   float64 `json:"second_p50_us"`
	} `json:"extra"`
}

// parse reads the client program's last line.
func (a *answer) parse(line []byte) error {
	if err := json.Unmarshal(line, a); err != nil {
		return fmt.Errorf("client said %q: %v", tail(line), err)
	}
	return nil
}

// ask runs the client program.
func (b *bench) ask(ctx context.Context, args ...string) (a answer, err error) {
	out, err := b.client.output(ctx, command{args: append([]string{b.program("client"), "-ca", b.roots()}, args...)})
	if err != nil {
		return a, err
	}
	return a, a.parse(out)
}

// probe is one request with a credential that must not get through.
func (b *bench) probe(ctx context.Context, url string) (answer, error) {
	return b.ask(ctx, "-mode", "probe", "-url", url, "-bearer", "the-workload-has-none", "-protocol", string(b.work.protocol))
}

// prove waits until the proxy answers and shows that it does the work: that a
// verified client gets through, that the origin saw the credential and not the
// client's own, and that an origin that can't be verified gets no request. It
// speaks the protocol of the workload.
func (b *bench) prove(ctx context.Context) error {
	if err := b.started(ctx); err != nil {
		return err
	}
	if b.plain() {
		a, err := b.answers(ctx, b.url(apiName, "/1k"))
		if err == nil && a.Extra.Issuer != originRoot {
			err = fmt.Errorf("TLS was terminated by %q", a.Extra.Issuer)
		}
		return err
	}
	good, bad := apiName, badName
	if b.work.protocol == grpc {
		good, bad = rpcName, badRPCName
	}
	a, err := b.answers(ctx, b.url(good, "/seen"))
	switch {
	case err != nil:
		return err
	case a.Extra.Issuer == originRoot:
		return errors.New("TLS was not terminated")
	case a.Extra.Seen != "Bearer "+bearer && !scrubbed(a.Extra.Seen):
		return fmt.Errorf("the origin saw %q", a.Extra.Seen)
	}
	a, err = b.probe(ctx, b.url(bad, "/"))
	if err == nil && a.Errors == 0 {
		err = errors.New("an origin that can't be verified was called")
	}
	return err
}

// scrubbed reports whether a credential that the origin has told of was taken out of
// its answer, which happens to the right one alone.
func scrubbed(seen string) bool { return strings.HasPrefix(seen, "Bearer [redacted:bench]") }

// started waits for a product that says when it is there. Until then nothing is
// captured, and what passes through looks the same without a proxy.
func (b *bench) started(ctx context.Context) error {
	p, ok := b.peer.(watched)
	if !ok {
		return nil
	}
	deadline := time.Now().Add(soon)
	for {
		_, err := p.account(ctx, b)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("not ready within %v: %v; %s", soon, err, b.lastWords())
		}
		<-time.After(poll)
	}
}

// answers repeats a call until it succeeds.
func (b *bench) answers(ctx context.Context, url string) (answer, error) {
	deadline := time.Now().Add(soon)
	for {
		a, err := b.probe(ctx, url)
		if err == nil && a.Errors == 0 {
			return a, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return a, fmt.Errorf("no answer within %v: %v %s; %s", soon, err, a.FirstError, b.lastWords())
		}
		<-time.After(poll)
	}
}
