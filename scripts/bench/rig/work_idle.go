package main

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// idle is (e): memory of connections that did one request and wait. i chooses
// from the plan's numbers of connections.
func idle(p *plan, i int) workload {
	n := 0
	if i < len(p.idle) {
		n = p.idle[i]
	}
	f := figure{
		title: fmt.Sprintf("memory of %d idle TLS connections", n), unit: "kB/connection",
		of: func(s *sample) float64 { return ratio(float64(s.Held-s.Before)/1000, float64(s.N)) },
	}
	if n == 5000 {
		f.goal = goal{limit: 12}
	}
	return workload{
		key: fmt.Sprintf("e%d", i+1), protocol: http1, figures: []figure{f},
		measure: func(ctx context.Context, b *bench, s *sample) error { return b.idlers(ctx, s, n) },
	}
}

// rest is how long the proxy may tidy up before its memory is read.
func (b *bench) rest() time.Duration {
	if b.plan.short {
		return 100 * time.Millisecond
	}
	return 2 * time.Second
}

// idlers reads the proxy's memory before and while the connections stand.
func (b *bench) idlers(ctx context.Context, s *sample, n int) error {
	s.Before = b.proxy.resident()
	return b.during(s, func() error {
		h, err := b.hold(ctx, "-mode", "idle", "-c", strconv.Itoa(n), "-url", b.url(apiName, "/1k"))
		if err != nil {
			return err
		}
		<-time.After(b.rest())
		s.Held = b.proxy.resident()
		a, err := h.release()
		s.take(a)
		return err
	})
}
