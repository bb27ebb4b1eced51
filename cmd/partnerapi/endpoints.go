package main

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// echo answers with the request's body.
func echo(w http.ResponseWriter, r *http.Request, a *account) {
	contentType := r.Header.Get("Content-Type")
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	w.Header().Set("Content-Type", contentType)
	control := http.NewResponseController(w)
	buffer := make([]byte, 32<<10)
	for {
		n, err := a.body.Read(buffer)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return
			}
			_ = control.Flush()
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler) // a body cut short must not look whole
		}
	}
}

// events sends n server-sent events with a gap between them.
func events(w http.ResponseWriter, r *http.Request, _ *account) {
	n, gap := number(r, "n", 3), pause(r)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	control := http.NewResponseController(w)
	for i := range n {
		if _, err := fmt.Fprintf(w, "id: %d\ndata: event %d of %d\n\n", i+1, i+1, n); err != nil {
			return
		}
		_ = control.Flush()
		select {
		case <-r.Context().Done():
			return
		case <-time.After(gap):
		}
	}
}

// stream sends as many bytes as asked for: the decimal numbers of its lines.
func stream(w http.ResponseWriter, r *http.Request, _ *account) {
	left := number(r, "bytes", 1<<20)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(left))
	block := make([]byte, 32<<10)
	for i := range block {
		block[i] = byte('a' + i%26)
	}
	for left > 0 {
		n, err := w.Write(block[:min(left, len(block))])
		if err != nil {
			return
		}
		left -= n
	}
}

// trailers sends a body and three trailer fields, one of them not announced.
func trailers(w http.ResponseWriter, _ *http.Request, a *account) {
	w.Header().Set("Trailer", "X-Body-Sha256, X-Status")
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, "the trailers follow\n")
	_ = http.NewResponseController(w).Flush() // HTTP/1.1 has no trailers after a Content-Length
	w.Header().Set("X-Body-Sha256", a.BodySHA256)
	w.Header().Set("X-Status", "0")
	w.Header().Set(http.TrailerPrefix+"X-Unannounced", "yes")
}

// status answers with the code that is asked for, and a Location if one is given.
func status(w http.ResponseWriter, r *http.Request, a *account) {
	code := number(r, "code", http.StatusOK)
	if to := r.URL.Query().Get("location"); to != "" {
		w.Header().Set("Location", to)
	}
	if code < http.StatusOK || code > 599 {
		code = http.StatusBadRequest
	}
	if code == http.StatusNoContent || code == http.StatusNotModified {
		w.WriteHeader(code)
		return
	}
	answer(w, code, a)
}

func number(r *http.Request, name string, otherwise int) int {
	n, err := strconv.Atoi(r.URL.Query().Get(name))
	if err != nil || n < 0 {
		return otherwise
	}
	return n
}

func pause(r *http.Request) time.Duration {
	gap, err := time.ParseDuration(r.URL.Query().Get("gap"))
	if err != nil || gap < 0 {
		return 0
	}
	return min(gap, time.Minute)
}
