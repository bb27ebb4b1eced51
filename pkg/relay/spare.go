package relay

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	bufferSize = 64 << 10
	pipeSize   = 256 << 10
	mostSpare  = 32 // of each kind, in a loop
)

type buffer [bufferSize]byte

// pipe is what splice(2) needs between two sockets.
type pipe struct{ r, w int }

// spare is what connections of a loop need for moments only. Slow readers keep
// theirs, so there may be more in use than are ever kept here.
type spare struct {
	mu      sync.Mutex
	buffers []*buffer
	pipes   []*pipe
	closed  bool
}

func (s *spare) buffer() *buffer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.buffers); n > 0 {
		b := s.buffers[n-1]
		s.buffers = s.buffers[:n-1]
		return b
	}
	return new(buffer)
}

func (s *spare) keepBuffer(b *buffer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.buffers) < mostSpare {
		s.buffers = append(s.buffers, b)
	}
}

func (s *spare) pipe() (*pipe, error) {
	s.mu.Lock()
	if n := len(s.pipes); n > 0 {
		p := s.pipes[n-1]
		s.pipes = s.pipes[:n-1]
		s.mu.Unlock()
		return p, nil
	}
	s.mu.Unlock()
	return newPipe()
}

// keepPipe takes a pipe back. One with bytes left in it is of no use any more.
func (s *spare) keepPipe(p *pipe, empty bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !empty || s.closed || len(s.pipes) == mostSpare {
		p.close()
		return
	}
	s.pipes = append(s.pipes, p)
}

// close closes the pipes that are here and those that come back later.
func (s *spare) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.drop()
}

// shed closes the pipes that are here, and forgets the buffers.
func (s *spare) shed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
}

// drop is what close and shed do with the lock held.
func (s *spare) drop() {
	for _, p := range s.pipes {
		p.close()
	}
	s.pipes, s.buffers = nil, nil
}

// newPipe makes a pipe, as large as the system allows.
func newPipe() (*pipe, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	_, _ = unix.FcntlInt(uintptr(p[0]), unix.F_SETPIPE_SZ, pipeSize)
	return &pipe{p[0], p[1]}, nil
}

func (p *pipe) close() {
	_ = unix.Close(p.r)
	_ = unix.Close(p.w)
}
