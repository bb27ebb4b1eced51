package main

import "context"

// keepAlive is (a): small requests on warm HTTP/1.1 connections.
func keepAlive() workload {
	return workload{
		key: "a", protocol: http1,
		figures: []figure{{
			title: "HTTP/1.1 keep-alive, 1 KiB, 64 connections", unit: "us/request", of: perRequest,
			goal: goal{ratio: 0.9, peer: "nginx"},
		}},
		measure: func(ctx context.Context, b *bench, s *sample) error {
			if err := b.warm(ctx); err != nil {
				return err
			}
			return b.byWrk(ctx, s, "/1k", 64)
		},
	}
}
