package main

import (
	"context"
	"strconv"
)

// atRate is (f): latency where nobody is busy.
func atRate(*plan) workload {
	return workload{
		key: "f", title: "latency at 500 requests/s, p50", unit: "us", latency: true, goal: goal{ratio: 1},
		measure: func(ctx context.Context, b *bench, s *sample) error {
			if err := b.warm(ctx); err != nil {
				return err
			}
			err := b.byClient(ctx, s, "-mode", "rate", "-rate", "500", "-c", "16", "-url", b.url(apiName, "/1k"))
			s.Cost = s.P50
			return err
		},
	}
}

// firstCall is (h): what a host costs at its first call, more than at its second.
// Peers have one leaf for all names and no part in this.
func firstCall(p *plan) workload {
	n := newCount
	if p.short {
		n = 5
	}
	return workload{
		key: "h", title: "first call of a host, more than its second, p50", unit: "us", alone: true, goal: goal{limit: 2000},
		measure: func(ctx context.Context, b *bench, s *sample) error {
			err := b.byClient(ctx, s, "-mode", "first", "-c", strconv.Itoa(n), "-url", b.url(newNames, "/1k"))
			s.Cost = s.P50 - s.Second
			return err
		},
	}
}
