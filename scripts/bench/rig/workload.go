package main

import "context"

// kind is what a proxy does with the connections of a workload.
type kind int

const (
	terminate kind = iota // TLS, inject, verify
	pass                  // by server name, undecrypted
)

// sessions is which TLS handshakes a workload is about.
type sessions int

const (
	anySession sessions = iota
	fullOnly
	resumedOnly
)

// workload is one row of the table.
type workload struct {
	key, title string
	unit       string // of the cost
	kind       kind
	http2      bool
	latency    bool // the cost is what the proxy adds to direct
	alone      bool // only the product takes part
	sessions   sessions
	goal       goal
	measure    func(ctx context.Context, b *bench, s *sample) error
}

// goal is what Outwarden must reach.
type goal struct {
	ratio float64 // to the peer; 0: none
	peer  string  // "": the best one
	limit float64 // in the unit; 0: none
}

func allWorkloads(p *plan) []workload {
	return []workload{
		keepAlive(p), fresh(p), resumed(p), download(p), http2(p), idle(p, 0), idle(p, 1), atRate(p),
		passBulk(p), passFresh(p), firstCall(p), upload(p),
	}
}

func keys(works []workload) []string {
	var s []string
	for _, w := range works {
		s = append(s, w.key)
	}
	return s
}

const kib, mib, gib = 1 << 10, 1 << 20, 1 << 30

// perRequest is the cost in microseconds of the proxy's CPU per request.
func perRequest(s *sample) float64 { return ratio(float64(s.Proxy), float64(s.N)) }

// perGiB is the cost in seconds of the proxy's CPU per GiB.
func perGiB(s *sample) float64 { return ratio(float64(s.Proxy)/1e6, float64(s.Bytes)/gib) }

// warm has the proxy fill its pools, and waits for the host to calm down.
func (b *bench) warm(ctx context.Context) error {
	if b.plan.short {
		return nil
	}
	c := b.wrk("/1k", 64, 1)
	if b.work.http2 {
		c = b.h2load(8, 32, 1)
	}
	if _, err := b.client.output(ctx, c); err != nil {
		return err
	}
	return b.plan.calm(ctx)
}
