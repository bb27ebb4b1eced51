package main

import "fmt"

// sample is one measurement, as it stands in the file of results. Durations are
// microseconds of CPU.
type sample struct {
	Round int    `json:"round"`
	Peer  string `json:"peer"`
	Work  string `json:"work"`
	Mode  string `json:"mode"` // pin or free

	N          int     `json:"n"` // requests answered with 2xx
	Errors     int     `json:"errors"`
	FirstError string  `json:"first_error,omitempty"`
	Seconds    float64 `json:"seconds"`
	Proxy      int64   `json:"proxy_us"`
	Client     int64   `json:"client_us"`
	Origin     int64   `json:"origin_us"`
	Foreign    int64   `json:"foreign_us"` // of processes that are none of ours
	In         int64   `json:"in"`         // connections accepted by the proxy
	Up         int64   `json:"up"`         // connections accepted by the origin
	Resumed    int     `json:"resumed"`
	Protocol   string  `json:"protocol,omitempty"`
	Bytes      int64   `json:"bytes,omitempty"` // of bodies
	P50        float64 `json:"p50_us,omitempty"`
	P99        float64 `json:"p99_us,omitempty"`
	Second     float64 `json:"second_p50_us,omitempty"`
	Before     int64   `json:"rss_before,omitempty"`
	Held       int64   `json:"rss_held,omitempty"`

	Cost    float64  `json:"cost"` // the workload's first figure
	Account *account `json:"account,omitempty"`
	Failure string   `json:"failure,omitempty"`
}

// check objects to a sample that does not show what its workload is about.
func (s *sample) check(w workload) error {
	switch {
	case s.N == 0:
		return fmt.Errorf("no request succeeded: %s", s.FirstError)
	case s.Errors > 0:
		return fmt.Errorf("%d of %d requests failed: %s", s.Errors, s.N+s.Errors, s.FirstError)
	case w.sessions == fullOnly && s.Resumed > 0:
		return fmt.Errorf("%d of %d sessions were resumed", s.Resumed, s.N)
	case w.sessions == resumedOnly && s.N-s.Resumed > max(s.N/10, 8): // those without a ticket yet
		return fmt.Errorf("only %d of %d sessions were resumed", s.Resumed, s.N)
	case w.protocol == h2 && s.Protocol != "h2":
		return fmt.Errorf("spoke %q", s.Protocol)
	}
	return nil
}

// load is the proxy's CPU as a multiple of the client's in the same sample.
func (s *sample) load() float64 { return ratio(float64(s.Proxy), float64(s.Client)) }

// foreign is what others used of a core.
func (s *sample) foreign() float64 { return ratio(float64(s.Foreign)/1e6, s.Seconds) }

// megabytes is the proxy's memory while the workload ran, or just after.
func (s *sample) megabytes() float64 { return float64(s.Held) / 1e6 }

func (s *sample) perSecond() float64 { return ratio(float64(s.N), s.Seconds) }

// line tells a sample while the run goes on.
func (s *sample) line() string {
	text := fmt.Sprintf("%d %-3s %-12s", s.Round, s.Work, s.Peer)
	if s.Failure != "" {
		return text + " FAILED: " + s.Failure
	}
	text += fmt.Sprintf(" n=%-6d cost=%-8.4g proxy/client=%.2f in=%d up=%d resumed=%d", s.N, s.Cost, s.load(), s.In, s.Up, s.Resumed)
	if s.P50 > 0 {
		text += fmt.Sprintf(" p50=%.0f p99=%.0f us", s.P50, s.P99)
	}
	return text + fmt.Sprintf(" foreign=%.0f%%", 100*s.foreign())
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
