package main

import "context"

// pace is how many messages a second go over each connection of (j).
const pace = "100"

// events is the first half of (j): each event is one that somebody waits for.
func events() workload {
	return workload{
		key: "j", protocol: http1, live: true, figures: messages("server-sent events, 64 streams x 100/s", "us/event"),
		measure: func(ctx context.Context, b *bench, s *sample) error {
			return b.held(ctx, s, "-mode", "events", "-c", "64", "-url", b.url(appName, "/events?rate="+pace))
		},
	}
}

// sockets is the second half: a message goes and its echo comes.
func sockets() workload {
	return workload{
		key: "jw", protocol: http1, live: true, figures: messages("WebSocket, 64 connections x 100/s, message and echo", "us/echo"),
		measure: func(ctx context.Context, b *bench, s *sample) error {
			return b.held(ctx, s, "-mode", "socket", "-c", "64", "-rate", pace, "-url", b.url(appName, "/socket"))
		},
	}
}

// messages are both figures of (j).
func messages(title, unit string) []figure {
	return []figure{
		{title: title, unit: unit, of: perRequest, goal: goal{ratio: 0.95}},
		{title: title + ", delay, p50, added", unit: "us", of: p50, added: true, goal: goal{ratio: 0.95}},
	}
}
