package main

import (
	"context"
	"strconv"
)

// atRate is (f): latency where nobody is busy.
func atRate() workload {
	return workload{
		key: "f", protocol: http1,
		figures: []figure{
			{title: "latency at 500 requests/s, p50, added", unit: "us", of: p50, added: true, goal: goal{ratio: 1}},
			{title: "latency at 500 requests/s, p99", unit: "us", of: p99, goal: goal{noise: true}},
		},
		measure: func(ctx context.Context, b *bench, s *sample) error {
			if err := b.warm(ctx); err != nil {
				return err
			}
			return b.byClient(ctx, s, "-mode", "rate", "-rate", "500", "-c", "16", "-url", b.url(apiName, "/1k"))
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
		key: "h", protocol: http1, alone: true,
		figures: []figure{{
			title: "first call of a host, more than its second, p50", unit: "us", goal: goal{limit: 2000},
			of: func(s *sample) float64 { return s.P50 - s.Second },
		}},
		measure: func(ctx context.Context, b *bench, s *sample) error {
			return b.byClient(ctx, s, "-mode", "first", "-c", strconv.Itoa(n), "-url", b.url(newNames, "/1k"))
		},
	}
}
