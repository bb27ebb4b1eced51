package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// first connects twice to each of a series of names that nobody called before,
// and tells the latencies of the first and of the second. In the URL's name, %d
// is the number.
func (r *run) first() error {
	pattern := r.url
	var again []float64
	for i := range r.conns {
		r.url.name = strings.ReplaceAll(pattern.name, "%d", fmt.Sprint(i))
		r.url.addr = strings.ReplaceAll(pattern.addr, "%d", fmt.Sprint(i))
		r.config = r.config.Clone()
		r.config.ServerName = r.url.name
		get := request(r.options, "GET", "Connection: close")
		t := time.Now()
		r.count(t, r.once(get))
		t = time.Now()
		if err := r.once(get); err != nil {
			r.count(t, err)
		}
		again = append(again, float64(time.Since(t).Microseconds()))
	}
	slices.Sort(again)
	r.extra["second_p50_us"] = quantile(again, 0.5)
	return nil
}
