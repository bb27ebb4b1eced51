package main

import (
	"crypto/tls"
	"slices"
	"sync"
	"time"
)

// run is what the goroutines of one mode share.
type run struct {
	options
	config *tls.Config
	start  time.Time
	took   time.Duration

	mu       sync.Mutex
	done     int
	resumed  int
	errs     int
	firstErr string
	micros   []float64 // latencies
	extra    map[string]any
}

// report is what the rig reads.
type report struct {
	N          int            `json:"n"`
	Errors     int            `json:"errors"`
	FirstError string         `json:"first_error,omitempty"`
	Resumed    int            `json:"resumed"`
	Seconds    float64        `json:"seconds"`
	P50        float64        `json:"p50_us"`
	P99        float64        `json:"p99_us"`
	Extra      map[string]any `json:"extra,omitempty"`
}

func newRun(o options) (*run, error) {
	config, err := tlsConfig(o)
	if err != nil {
		return nil, err
	}
	return &run{options: o, config: config, start: time.Now(), extra: map[string]any{}}, nil
}

// more reports whether one who sent n times goes on. Each sends at least once,
// however slow the machine is.
func (r *run) more(n int) bool { return n == 0 || time.Since(r.start) < r.duration }

// count adds an outcome that began at t.
func (r *run) count(t time.Time, err error) {
	if err != nil {
		r.fail(err)
		return
	}
	micros := float64(time.Since(t).Microseconds())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done++
	r.micros = append(r.micros, micros)
}

func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs++
	if r.firstErr == "" {
		r.firstErr = err.Error()
	}
}

func (r *run) report() report {
	if r.took == 0 {
		r.took = time.Since(r.start)
	}
	slices.Sort(r.micros)
	return report{
		N: r.done, Errors: r.errs, FirstError: r.firstErr, Resumed: r.resumed, Seconds: r.took.Seconds(),
		P50: quantile(r.micros, 0.5), P99: quantile(r.micros, 0.99), Extra: r.extra,
	}
}

// quantile wants its values sorted.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	return v[min(len(v)-1, int(q*float64(len(v))))]
}
