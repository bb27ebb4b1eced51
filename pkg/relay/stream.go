package relay

import (
	"bytes"
	"errors"
)

const (
	// fairShare is what one stream may move before others have their turn.
	fairShare = 1 << 20
	// bulk is a read so large that the next one is left to splice(2).
	bulk = 16 << 10
)

// stream is one direction. At most one of held and piped is not empty.
type stream struct {
	src, dst *side
	held     []byte // read and not written yet
	buffer   *buffer
	pipe     *pipe
	piped    int // bytes in pipe
	large    bool
	ended    bool // the end of src was read
	told     bool // and dst was told
	moved    int64
}

// over reports whether everything that src ever said is written.
func (s *stream) over() bool { return s.ended && !s.pending() }

func (s *stream) pending() bool { return len(s.held) > 0 || s.piped > 0 }

// move reads and writes until one side can no more, or (more) until it is the
// turn of others.
func (s *stream) move(spare *spare) (more bool, err error) {
	for start := s.moved; err == nil; {
		switch {
		case s.pending() && s.dst.writable:
			err = s.write()
		case s.pending():
			return false, nil
		case s.ended || !s.src.readable:
			s.rest(spare)
			return false, nil
		case s.moved-start >= fairShare:
			return true, nil
		case s.large:
			err = s.fill(spare)
		default:
			err = s.read(spare)
		}
	}
	return false, err
}

// read takes what src has said. A short read has emptied it, unless an error or
// urgent data lie behind.
func (s *stream) read(spare *spare) error {
	if s.buffer == nil {
		s.buffer = spare.buffer()
	}
	n, err := recv(s.src.socket, s.buffer[:])
	switch {
	case errors.Is(err, errAgain):
		s.src.readable = false
		return nil
	case err != nil:
		return err
	case n == 0:
		s.ended = true
		return nil
	}
	s.held = s.buffer[:n]
	s.large = n >= bulk
	if n < len(s.buffer) {
		s.ended = s.src.whole
		s.src.readable = s.src.last || s.src.urgent
	}
	return nil
}

// fill is read for bulk: the bytes go into a pipe.
func (s *stream) fill(spare *spare) (err error) {
	if s.pipe == nil {
		if s.pipe, err = spare.pipe(); err != nil {
			s.large = false // out of descriptors: copying needs none
			return nil
		}
	}
	n, err := splice(s.src.socket, s.pipe.w, pipeSize, false)
	switch {
	case errors.Is(err, errAgain):
		s.src.readable = false
		return nil
	case err != nil:
		return err
	case n == 0:
		s.ended = true
		return nil
	}
	s.piped = n
	s.large = n >= bulk
	return nil
}

// write gives dst what it takes. Where the end of src is in sight, the last bytes
// wait for it, and both leave in one packet.
func (s *stream) write() (err error) {
	var n int
	if s.piped > 0 {
		n, err = splice(s.pipe.r, s.dst.socket, s.piped, s.src.last)
		s.piped -= n
	} else {
		n, err = send(s.dst.socket, s.held, s.src.last)
		s.held = s.held[n:]
	}
	s.moved += int64(n)
	if errors.Is(err, errAgain) {
		s.dst.writable = false
		return nil
	}
	return err
}

// passEnd tells dst, once, that nothing more will come.
func (s *stream) passEnd() {
	if s.over() && !s.told {
		s.told = true
		shutdown(s.dst.socket)
	}
}

// shrink keeps what was read in no more memory than it needs: it may have to wait
// for long.
func (s *stream) shrink(spare *spare) {
	said := bytes.Clone(s.held)
	s.rest(spare)
	s.held = said
}

// rest gives back what the stream holds while nothing is on its way.
func (s *stream) rest(spare *spare) {
	if s.buffer != nil {
		spare.keepBuffer(s.buffer)
	}
	if s.pipe != nil {
		spare.keepPipe(s.pipe, s.piped == 0)
	}
	s.held, s.buffer, s.pipe, s.piped = nil, nil, nil, 0
}
