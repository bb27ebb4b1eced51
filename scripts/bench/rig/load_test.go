package main

import (
	"testing"
)

func TestReadWrk(t *testing.T) {
	const head = "Running 1s test @ https://api.bench.test/1k\n  1 threads and 64 connections\n"
	for _, c := range []struct {
		name, out string
		n, errs   int
		fails     bool
	}{
		{"fine", head + "  15861 requests in 1.01s, 19.15MB read\nRequests/sec:  15656.00\n", 15861, 0, false},
		{"refused", head + "  120 requests in 1.01s, 1MB read\n  Non-2xx or 3xx responses: 20\n", 100, 20, false},
		{"broken", head + "  120 requests in 1.01s, 1MB read\n  Socket errors: connect 1, read 2, write 3, timeout 4\n", 120, 10, false},
		{"no answer", "unable to connect to api.bench.test:https Connection refused\n", 0, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s sample
			err := s.readWrk([]byte(c.out))
			if (err != nil) != c.fails || s.N != c.n || s.Errors != c.errs {
				t.Errorf("got %d requests, %d errors, %v; want %d, %d, failure %v", s.N, s.Errors, err, c.n, c.errs, c.fails)
			}
			if (s.Errors > 0) != (s.FirstError != "") {
				t.Errorf("%d errors are told as %q", s.Errors, s.FirstError)
			}
		})
	}
}

func TestReadH2load(t *testing.T) {
	for _, c := range []struct {
		name, out, protocol string
		n, errs             int
		fails               bool
	}{
		{
			"fine", `Application protocol: h2
requests: 51288 total, 51544 started, 51288 done, 51288 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 51290 2xx, 0 3xx, 0 4xx, 0 5xx
`, "h2", 51290, 0, false,
		},
		{
			"refused", `Application protocol: http/1.1
requests: 100 total, 100 started, 100 done, 95 succeeded, 5 failed, 0 errored, 0 timeout
status codes: 60 2xx, 0 3xx, 35 4xx, 5 5xx
`, "http/1.1", 60, 40, false,
		},
		{"no answer", "could not resolve host\n", "", 0, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s sample
			err := s.readH2load([]byte(c.out))
			if (err != nil) != c.fails || s.N != c.n || s.Errors != c.errs || s.Protocol != c.protocol {
				t.Errorf("got %d requests, %d errors, %q, %v; want %d, %d, %q, failure %v",
					s.N, s.Errors, s.Protocol, err, c.n, c.errs, c.protocol, c.fails)
			}
		})
	}
}

// TestCheck shows that a sample which does not show its workload is none.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name  string
		s     sample
		w     workload
		fails bool
	}{
		{"fine", sample{N: 10}, workload{}, false},
		{"nothing happened", sample{}, workload{}, true},
		{"an error", sample{N: 10, Errors: 1}, workload{}, true},
		{"full handshakes", sample{N: 10}, workload{sessions: fullOnly}, false},
		{"a resumed one among them", sample{N: 10, Resumed: 1}, workload{sessions: fullOnly}, true},
		{"resumed", sample{N: 100, Resumed: 92}, workload{sessions: resumedOnly}, false},
		{"not resumed", sample{N: 100, Resumed: 50}, workload{sessions: resumedOnly}, true},
		{"HTTP/2", sample{N: 10, Protocol: "h2"}, workload{protocol: h2}, false},
		{"not HTTP/2", sample{N: 10, Protocol: "http/1.1"}, workload{protocol: h2}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.s.check(c.w); (err != nil) != c.fails {
				t.Errorf("check: %v, want failure %v", err, c.fails)
			}
		})
	}
}
