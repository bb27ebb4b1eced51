package sigv4

import (
	"bytes"
	"errors"
	"fmt"
)

const (
	maxChunkLine = 128     // a size of 16 digits and a signature have 99 bytes
	maxTrailer   = 8 << 10 // bytes of the trailer section
	maxChunk     = 1 << 40 // bytes of one chunk; S3's largest object is below
	extension    = ";chunk-signature="
	trailerName  = "x-amz-trailer-signature"
)

var (
	// ErrChunk is returned for a body that is not aws-chunked as its request says.
	ErrChunk = errors.New("aws-chunked body is malformed")
	// ErrChunkSignature is returned for a chunk or trailer that the key did not sign.
	ErrChunkSignature = errors.New("aws-chunked body: a chunk's signature does not match")
	// ErrChunkTooLong is returned by a Resigner for a chunk beyond its limit.
	ErrChunkTooLong = errors.New("aws-chunked body: a chunk is too long to sign anew")
)

// events is what a scanner finds, in this order.
type events interface {
	head(size []byte, n int64, signature []byte) error // a chunk begins; n is 0 for the last
	data(p []byte) error
	end() error                                                 // the chunk's bytes are over, framing included
	trailer(raw []byte, fields []Field, signature [2]int) error // raw[signature[0]:signature[1]] is the value
}

// framing says which aws-chunked form a body has.
type framing struct{ signed, trailer bool }

func framingOf(payload string) (framing, error) {
	switch payload {
	case StreamingPayload:
		return framing{signed: true}, nil
	case StreamingPayloadTrailer:
		return framing{signed: true, trailer: true}, nil
	case StreamingUnsignedTrailer:
		return framing{trailer: true}, nil
	}
	if err := CheckPayload(payload); err != nil {
		return framing{}, err
	}
	return framing{}, fmt.Errorf("%w: %s is no streamed payload", ErrChunk, payload)
}

type scanState uint8

const (
	inHead scanState = iota
	inData
	wantCR // that ends a chunk's data
	wantLF
	inTrailer
	scanned
	broken
)

// scanner takes an aws-chunked body apart, as it comes. It keeps a line or the
// trailer section, never the data.
type scanner struct {
	framing
	state   scanState
	line    []byte
	left    int64 // of the chunk's data
	total   int64
	last    bool
	start   int // of the trailer line in line
	bare    bool
	ended   bool // the trailer may end here
	failure error
}

// scan consumes p. After an error every call returns it.
func (s *scanner) scan(p []byte, e events) error {
	for len(p) > 0 {
		n, err := s.step(p, e)
		if err != nil {
			s.state, s.failure = broken, err
			return err
		}
		p = p[n:]
	}
	return s.failure
}

func (s *scanner) step(p []byte, e events) (int, error) {
	switch s.state {
	case inHead:
		return s.headBytes(p, e)
	case inData:
		n := min(s.left, int64(len(p)))
		s.left -= n
		if s.left == 0 {
			s.state = wantCR
		}
		return int(n), e.data(p[:n])
	case wantCR:
		s.state = wantLF
		return 1, expect(p[0], '\r')
	case wantLF:
		if err := expect(p[0], '\n'); err != nil {
			return 0, err
		}
		s.state = inHead
		if s.last {
			s.state = scanned
		}
		return 1, e.end()
	case inTrailer:
		return s.trailerBytes(p, e)
	case broken:
		return 0, s.failure
	}
	return 0, fmt.Errorf("%w: bytes after its end", ErrChunk)
}

func expect(got, want byte) error {
	if got != want {
		return fmt.Errorf("%w: a chunk does not end where its size says", ErrChunk)
	}
	return nil
}

// collect adds what p has of a line, its LF included, to s.line, which may become so
// long. It returns how much that was, and whether the line is whole.
func (s *scanner) collect(p []byte, most int, what string) (n int, whole bool, err error) {
	n = bytes.IndexByte(p, '\n') + 1
	whole = n > 0
	if !whole {
		n = len(p)
	}
	if len(s.line)+n > most {
		return 0, false, fmt.Errorf("%w: %s too long", ErrChunk, what)
	}
	s.line = append(s.line, p[:n]...)
	return n, whole, nil
}

// headBytes collects a chunk's line: size, signature, CRLF.
func (s *scanner) headBytes(p []byte, e events) (int, error) {
	n, whole, err := s.collect(p, maxChunkLine, "chunk line")
	if !whole {
		return n, err
	}
	line, ok := bytes.CutSuffix(s.line, []byte("\r\n"))
	if !ok {
		return 0, fmt.Errorf("%w: chunk line ends without CRLF", ErrChunk)
	}
	err = s.chunk(line, e)
	s.line = s.line[:0]
	return n, err
}

func (s *scanner) chunk(line []byte, e events) error {
	size, signature, extended := bytes.Cut(line, []byte(extension))
	if extended != s.signed || s.signed && !lowerHex64(signature) {
		return fmt.Errorf("%w: chunk line is not a size and a signature", ErrChunk)
	}
	n, err := chunkSize(size)
	if err != nil {
		return err
	}
	s.left, s.last = n, n == 0
	s.total += n
	switch {
	case n > 0:
		s.state = inData
	case s.trailer:
		s.state = inTrailer
	default:
		s.state = wantCR
	}
	return e.head(size, n, signature)
}

func chunkSize(b []byte) (int64, error) {
	n := int64(0)
	for _, c := range b {
		if !isHex(c) || n > maxChunk {
			return 0, fmt.Errorf("%w: bad chunk size", ErrChunk)
		}
		n = n<<4 | int64(unhex(c))
	}
	if len(b) == 0 || len(b) > 16 || n > maxChunk {
		return 0, fmt.Errorf("%w: bad chunk size", ErrChunk)
	}
	return n, nil
}

// trailerBytes collects the trailer section up to its empty line. Some senders
// end a field with LF CRLF: an empty line after a bare LF belongs to it.
func (s *scanner) trailerBytes(p []byte, e events) (int, error) {
	n, whole, err := s.collect(p, maxTrailer, "trailer")
	if !whole {
		s.ended = false
		return n, err
	}
	line := s.line[s.start:]
	s.start = len(s.line)
	blank := len(line) <= 2 && (line[0] == '\r' || line[0] == '\n')
	bare := s.bare
	s.bare = !blank && !bytes.HasSuffix(line, []byte("\r\n"))
	if s.ended = blank; !blank || bare {
		return n, nil
	}
	return n, s.finishTrailer(e)
}

func (s *scanner) finishTrailer(e events) error {
	fields, signature, err := parseTrailer(s.line, s.signed)
	if err != nil {
		return err
	}
	s.state = scanned
	if err := e.end(); err != nil {
		return err
	}
	return e.trailer(s.line, fields, signature)
}

// finish is told that no byte follows.
func (s *scanner) finish(e events) error {
	if s.state == inTrailer && s.ended {
		if err := s.finishTrailer(e); err != nil {
			s.state, s.failure = broken, err
		}
	}
	switch {
	case s.failure != nil:
		return s.failure
	case s.state != scanned:
		return fmt.Errorf("%w: it ends too soon", ErrChunk)
	}
	return nil
}
