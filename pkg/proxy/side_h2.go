package proxy

import (
	"context"
	"io"
	"log"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/outwarden/outwarden/pkg/http1"
)

// http2Side is what all HTTP/2 connections share.
type http2Side struct {
	server *http2.Server
	base   *http.Server // its limits, and the way to a graceful end
}

const maxStreams = 256

func newHTTP2Side(idle time.Duration) http2Side {
	s := http2Side{
		server: &http2.Server{
			MaxConcurrentStreams:         maxStreams,
			IdleTimeout:                  idle,
			MaxUploadBufferPerConnection: 1 << 20,
			MaxUploadBufferPerStream:     1 << 18,
		},
		base: &http.Server{
			MaxHeaderBytes: http1.MaxHead,
			ErrorLog:       log.New(io.Discard, "", 0), // a client's protocol errors are its own affair
		},
	}
	_ = http2.ConfigureServer(s.base, s.server) // fails for a TLS config alone, and there is none
	return s
}

// drain sends GOAWAY on every connection, which ends with its last stream.
func (s *http2Side) drain() { _ = s.base.Shutdown(context.Background()) }

// streams counts the handlers of one connection, which the library does not
// wait for: their records are written before the connection is over.
type streams struct {
	mu   sync.Mutex
	over bool
	wg   sync.WaitGroup
}

func (s *streams) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.wg.Add(1)
	}
	return !s.over
}

func (s *streams) leave() { s.wg.Done() }

func (s *streams) end() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.wg.Wait()
}
