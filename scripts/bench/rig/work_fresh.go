package main

import (
	"context"
	"fmt"
)

// fresh is (b): a connection and a full handshake for every request.
func fresh() workload {
	return workload{
		key: "b", protocol: http1, sessions: fullOnly,
		figures: perConnection("a new TLS connection per request, full handshake", goal{ratio: 0.95}),
		measure: func(ctx context.Context, b *bench, s *sample) error { return b.freshCalls(ctx, s) },
	}
}

// resumed is (b'): the same with a session ticket each.
func resumed() workload {
	return workload{
		key: "br", protocol: http1, sessions: resumedOnly,
		figures: perConnection("a new TLS connection per request, resumed", goal{ratio: 0.95}),
		measure: func(ctx context.Context, b *bench, s *sample) error { return b.freshCalls(ctx, s, "-resume") },
	}
}

// passFresh is the second half of (g).
func passFresh() workload {
	return workload{
		key: "gn", protocol: http1, kind: pass,
		figures: perConnection("passthrough by SNI, a new connection per request", goal{ratio: 1, peer: "nginx"}),
		measure: func(ctx context.Context, b *bench, s *sample) error { return b.freshCalls(ctx, s) },
	}
}

func perConnection(title string, g goal) []figure {
	return []figure{{title: title, unit: "us/connection", of: perRequest, goal: g}}
}

func (b *bench) freshCalls(ctx context.Context, s *sample, more ...string) error {
	if err := b.warm(ctx); err != nil {
		return err
	}
	err := b.byClient(ctx, s, append([]string{"-mode", "fresh", "-c", "8", "-url", b.url(apiName, "/1k")}, more...)...)
	if err == nil && b.peer.name() != (direct{}).name() && s.In < int64(s.N) {
		err = fmt.Errorf("only %d of %d connections came to the proxy", s.In, s.N)
	}
	return err
}
