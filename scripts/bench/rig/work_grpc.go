package main

import "context"

// unary is the first half of (k).
func unary() workload {
	return calls("k", "unary", "gRPC unary, 4 connections x 16 calls, 100 bytes", "us/call")
}

// chat is the second half: streams both ways.
func chat() workload {
	return calls("ks", "chat", "gRPC streaming, 4 connections x 16 streams, message and echo", "us/echo")
}

// calls is a workload of grpc-go on both ends.
func calls(key, mode, title, unit string) workload {
	return workload{
		key: key, protocol: grpc, live: mode == "chat",
		figures: []figure{{title: title, unit: unit, of: perRequest, goal: goal{ratio: 0.95}}},
		measure: func(ctx context.Context, b *bench, s *sample) error {
			return b.held(ctx, s, "-mode", mode, "-c", "4", "-m", "16", "-url", b.url(rpcName, "/"))
		},
	}
}
