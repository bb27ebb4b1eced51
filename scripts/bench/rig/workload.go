package main

import (
	"context"
	"time"
)

// kind is what a proxy does with the connections of a workload.
type kind int

const (
	terminate kind = iota // TLS, inject, verify
	pass                  // by server name, undecrypted
)

// protocol is what a workload's clients speak, as the client program calls it.
type protocol string

const (
	http1 protocol = "http1"
	h2    protocol = "h2"
	grpc  protocol = "grpc"
)

// sessions is which TLS handshakes a workload is about.
type sessions int

const (
	anySession sessions = iota
	fullOnly
	resumedOnly
)

// workload is what clients do. Its figures are the rows of the table.
type workload struct {
	key      string
	figures  []figure // the first is told while the run goes on
	kind     kind
	protocol protocol
	alone    bool // only the product takes part
	live     bool // messages on long streams, which go at once: what is counted is no request
	sessions sessions
	setup
	measure func(ctx context.Context, b *bench, s *sample) error
}

// setup is what a workload wants to be otherwise than usual.
type setup struct {
	routes int    // of the product; 0: a hundred
	cores  int    // of the proxy; 0: the plan's
	synced bool   // audit waits for the disk
	scrub  string // what the route says of responses; "": nothing
	beside string // where the product is alone but for one peer: that

	dimension, value string // what grows, and how far
}

// figure is something that samples show; less is better.
type figure struct {
	title, unit string
	of          func(*sample) float64
	added       bool // what counts is how much more it is than without a proxy
	goal        goal
}

// goal is what Outwarden must reach.
type goal struct {
	ratio float64 // to the peer; 0: none
	peer  string  // "": the best one
	limit float64 // in the unit; 0: none
	noise bool    // no worse than the best peer in its worst round
}

func allWorkloads(p *plan) []workload {
	return []workload{
		keepAlive(), fresh(), resumed(), download(), multiplexed(), idle(p, 0), idle(p, 1), atRate(),
		passBulk(), passFresh(), firstCall(p), upload(), events(), sockets(), unary(), chat(),
	}
}

func keys(works []workload) []string {
	var s []string
	for _, w := range works {
		s = append(s, w.key)
	}
	return s
}

// compared reports whether a workload needs to know what it costs without a proxy.
func (w *workload) compared() bool {
	for _, f := range w.figures {
		if f.added {
			return true
		}
	}
	return false
}

const kib, mib, gib = 1 << 10, 1 << 20, 1 << 30

// perRequest is the proxy's CPU per request in microseconds.
func perRequest(s *sample) float64 { return ratio(float64(s.Proxy), float64(s.N)) }

// perGiB is the proxy's CPU per GiB in seconds.
func perGiB(s *sample) float64 { return ratio(float64(s.Proxy)/1e6, float64(s.Bytes)/gib) }

// p50 is the median latency in microseconds.
func p50(s *sample) float64 { return s.P50 }

// p99 is the latency that one of a hundred exceeds.
func p99(s *sample) float64 { return s.P99 }

// warm has the proxy fill its pools, and waits for the host to calm down.
func (b *bench) warm(ctx context.Context) error {
	if b.plan.short {
		return nil
	}
	c := b.wrk("/1k", 64, time.Second)
	if b.work.protocol == h2 {
		c = b.h2load(8, 32, time.Second)
	}
	if _, err := b.client.output(ctx, c); err != nil {
		return err
	}
	return b.calm(ctx)
}
