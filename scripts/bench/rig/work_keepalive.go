package main

import "context"

// keepAlive is (a): small requests on warm HTTP/1.1 connections.
func keepAlive(*plan) workload {
	return workload{
		key: "a", title: "HTTP/1.1 keep-alive, 1 KiB, 64 connections", unit: "us/request", goal: goal{ratio: 0.9, peer: "nginx"},
		measure: func(ctx context.Context, b *bench, s *sample) error {
			if err := b.warm(ctx); err != nil {
				return err
			}
			err := b.byWrk(ctx, s, "/1k", 64)
			s.Cost = perRequest(s)
			return err
		},
	}
}
