package main

import "context"

// multiplexed is (d): many streams on few connections.
func multiplexed() workload {
	return workload{
		key: "d", protocol: h2,
		figures: []figure{{
			title: "HTTP/2, 8 connections x 32 streams, 1 KiB", unit: "us/request", of: perRequest,
			goal: goal{ratio: 1, peer: "haproxy"},
		}},
		measure: func(ctx context.Context, b *bench, s *sample) error {
			if err := b.warm(ctx); err != nil {
				return err
			}
			return b.byH2load(ctx, s, 8, 32)
		},
	}
}
