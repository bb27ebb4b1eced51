package main

import (
	"context"
	"strconv"
)

const bulk = 10 * mib

// download is (c): large answers.
func download() workload {
	return workload{
		key: "c", protocol: http1,
		figures: []figure{{title: "10 MiB downloads, 4 connections", unit: "s/GiB", of: perGiB, goal: goal{ratio: 0.8}}},
		measure: func(ctx context.Context, b *bench, s *sample) error { return b.downloads(ctx, s) },
	}
}

// passBulk is the first half of (g).
func passBulk() workload {
	return workload{
		key: "g", kind: pass, protocol: http1,
		figures: []figure{{
			title: "passthrough by SNI, 10 MiB downloads, 4 connections", unit: "s/GiB", of: perGiB,
			goal: goal{ratio: 0.85, peer: "nginx"},
		}},
		measure: func(ctx context.Context, b *bench, s *sample) error { return b.downloads(ctx, s) },
	}
}

// upload is (i): large requests.
func upload() workload {
	return workload{
		key: "i", protocol: http1,
		figures: []figure{{title: "10 MiB uploads, 4 connections", unit: "s/GiB", of: perGiB, goal: goal{ratio: 0.95}}},
		measure: func(ctx context.Context, b *bench, s *sample) error {
			if err := b.warm(ctx); err != nil {
				return err
			}
			err := b.byClient(ctx, s, "-mode", "upload", "-c", "4", "-size", strconv.Itoa(bulk), "-url", b.url(appName, "/upload"))
			s.Bytes = int64(s.N) * bulk
			return err
		},
	}
}

func (b *bench) downloads(ctx context.Context, s *sample) error {
	if err := b.warm(ctx); err != nil {
		return err
	}
	err := b.byWrk(ctx, s, "/10m", 4)
	s.Bytes = int64(s.N) * bulk
	return err
}
