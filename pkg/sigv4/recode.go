package sigv4

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"strconv"
)

// Decoder is an io.WriteCloser that takes an aws-chunked body apart and hands
// its data on at once, before the chunk's signature is verified.
type Decoder struct {
	to       io.Writer
	in       *Chain
	sum      hash.Hash
	scan     scanner
	old      [64]byte
	want     int64
	trailers []Field
}

// NewDecoder returns a Decoder that writes the data to w. payload is one of the
// streaming constants; in verifies (nil: nothing is verified); length is
// x-amz-decoded-content-length, negative if unknown.
func NewDecoder(w io.Writer, in *Chain, payload string, length int64) (*Decoder, error) {
	f, err := framingOf(payload)
	if err != nil {
		return nil, err
	}
	if !f.signed {
		in = nil
	}
	return &Decoder{to: w, in: in, sum: sha256.New(), want: length, scan: scanner{framing: f}}, nil
}

// Write takes the next bytes of the body. An error is final: ErrChunk,
// ErrChunkSignature or the writer's.
func (d *Decoder) Write(p []byte) (int, error) {
	if err := d.scan.scan(p, d); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close is told that the body is over; ErrChunk if it is not whole or not as
// long as the request said. It does not close the writer.
func (d *Decoder) Close() error {
	if err := d.scan.finish(d); err != nil {
		return err
	}
	return checkLength(d.scan.total, d.want)
}

// Trailers are the trailer fields without the signature, once Close returned nil.
func (d *Decoder) Trailers() []Field { return d.trailers }

func (d *Decoder) head(_ []byte, _ int64, signature []byte) error {
	copy(d.old[:], signature)
	d.sum.Reset()
	if d.want >= 0 && d.scan.total > d.want {
		return checkLength(d.scan.total, d.want)
	}
	return nil
}

func (d *Decoder) data(p []byte) error {
	_, _ = d.sum.Write(p)
	_, err := d.to.Write(p)
	return err
}

func (d *Decoder) end() error {
	if d.in == nil {
		return nil
	}
	var sum [32]byte
	d.sum.Sum(sum[:0])
	if !d.in.matches(d.in.Chunk(sum), d.old[:]) {
		return ErrChunkSignature
	}
	return nil
}

func (d *Decoder) trailer(raw []byte, fields []Field, at [2]int) error {
	if d.in != nil && !d.in.matches(d.in.Trailer(CanonicalTrailer(fields)), raw[at[0]:at[1]]) {
		return ErrChunkSignature
	}
	d.trailers = fields
	return nil
}

// Encoder is an io.WriteCloser that cuts what it is given into chunks of one
// size and signs each. It holds one chunk.
type Encoder struct {
	to       io.Writer
	out      *Chain
	size     int
	held     []byte // room for size bytes and their CRLF
	line     []byte
	trailers func() []Field
}

// NewEncoder returns an Encoder of chunks of size bytes (S3 wants 8 KiB or more
// for all but the last). trailers is asked for the trailer fields once the data
// is over; nil makes a body without trailer.
func NewEncoder(w io.Writer, out *Chain, size int, trailers func() []Field) (*Encoder, error) {
	if size < 1 || size > maxChunk {
		return nil, fmt.Errorf("aws-chunked body: chunks of %d bytes", size)
	}
	return &Encoder{to: w, out: out, size: size, held: make([]byte, 0, size+2), trailers: trailers}, nil
}

// Write takes data; an error is the writer's.
func (e *Encoder) Write(p []byte) (int, error) {
	for taken := 0; ; {
		n := min(len(p)-taken, e.size-len(e.held))
		e.held = append(e.held, p[taken:taken+n]...)
		if taken += n; taken == len(p) {
			return taken, nil
		}
		if err := e.chunk("\r\n"); err != nil {
			return taken, err
		}
	}
}

// Close writes what is held, the last chunk and the trailer. It does not close
// the writer.
func (e *Encoder) Close() error {
	if len(e.held) > 0 {
		if err := e.chunk("\r\n"); err != nil {
			return err
		}
	}
	if e.trailers == nil {
		return e.chunk("\r\n")
	}
	if err := e.chunk(""); err != nil {
		return err
	}
	fields := e.trailers()
	var b []byte
	for _, f := range fields {
		b = append(append(append(append(b, f.Name...), ':'), f.Value...), "\r\n"...)
	}
	b = append(append(b, trailerName+":"...), e.out.Trailer(CanonicalTrailer(fields))...)
	_, err := e.to.Write(append(b, "\r\n\r\n"...))
	return err
}

func (e *Encoder) chunk(end string) error {
	e.line = append(strconv.AppendInt(e.line[:0], int64(len(e.held)), 16), extension...)
	e.line = append(append(e.line, e.out.Chunk(sha256.Sum256(e.held))...), "\r\n"...)
	if _, err := e.to.Write(e.line); err != nil {
		return err
	}
	_, err := e.to.Write(append(e.held, end...))
	e.held = e.held[:0]
	return err
}

// EncodedLength is how long n bytes become in an Encoder with chunks of size
// bytes. trailers are fields as long as those that will be sent; nil: none.
func EncodedLength(n int64, size int, trailers []Field) int64 {
	one := func(n int64) int64 { return int64(len(strconv.FormatInt(n, 16))+len(extension)+64+2) + n + 2 }
	total := n / int64(size) * one(int64(size))
	if rest := n % int64(size); rest > 0 {
		total += one(rest)
	}
	total += one(0)
	if trailers == nil {
		return total
	}
	for _, f := range trailers {
		total += int64(len(f.Name) + len(f.Value) + 3)
	}
	return total - 2 + int64(len(trailerName)+1+64+4)
}
