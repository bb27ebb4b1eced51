package main

import (
	"context"
	"fmt"
)

// fresh is (b): a connection and a full handshake for every request.
func fresh(*plan) workload {
	return workload{
		key: "b", title: "a new TLS connection per request, full handshake", unit: "us/connection",
		sessions: fullOnly, goal: goal{ratio: 0.95},
		measure: func(ctx context.Context, b *bench, s *sample) error { return b.freshCalls(ctx, s) },
	}
}

// resumed is (b'): the same with a session ticket each.
func resumed(*plan) workload {
	return workload{
		key: "br", title: "a new TLS connection per request, resumed", unit: "us/connection",
		sessions: resumedOnly, goal: goal{ratio: 0.95},
		measure: func(ctx context.Context, b *bench, s *sample) error { return b.freshCalls(ctx, s, "-resume") },
	}
}

// passFresh is the second half of (g).
func passFresh(*plan) workload {
	return workload{
		key: "gn", title: "passthrough by SNI, a new connection per request", unit: "us/connection", kind: pass,
		goal:    goal{ratio: 1, peer: "nginx"},
		measure: func(ctx context.Context, b *bench, s *sample) error { return b.freshCalls(ctx, s) },
	}
}

func (b *bench) freshCalls(ctx context.Context, s *sample, more ...string) error {
	if err := b.warm(ctx); err != nil {
		return err
	}
	err := b.byClient(ctx, s, append([]string{"-mode", "fresh", "-c", "8", "-url", b.url(apiName, "/1k")}, more...)...)
	s.Cost = perRequest(s)
	if err == nil && b.peer.name() != (direct{}).name() && s.In < int64(s.N) {
		err = fmt.Errorf("only %d of %d connections came to the proxy", s.In, s.N)
	}
	return err
}
