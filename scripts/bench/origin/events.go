package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// filler makes an event about as long as a language model's next word.
var filler = strings.Repeat("a", 100)

// events sends `rate` events a second until nobody listens. An event begins with
// the time when it was sent, in nanoseconds.
func events(w http.ResponseWriter, r *http.Request) {
	rate, err := strconv.Atoi(r.FormValue("rate"))
	if err != nil || rate <= 0 {
		http.Error(w, "no rate", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for {
		_, err := fmt.Fprintf(w, "data: %d %s\n\n", time.Now().UnixNano(), filler)
		if err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}
