package main

import "context"

// http2 is (d): many streams on few connections.
func http2(*plan) workload {
	return workload{
		key: "d", title: "HTTP/2, 8 connections x 32 streams, 1 KiB", unit: "us/request", http2: true,
		goal: goal{ratio: 1, peer: "haproxy"},
		measure: func(ctx context.Context, b *bench, s *sample) error {
			if err := b.warm(ctx); err != nil {
				return err
			}
			err := b.byH2load(ctx, s, 8, 32)
			s.Cost = perRequest(s)
			return err
		},
	}
}
