package sigv4

import (
	"crypto/sha256"
	"fmt"
	"io"
)

// DefaultChunkLimit is how many bytes of one chunk a Resigner holds at most if
// it is told nothing else. SDKs send 64 KiB to 1 MiB.
const DefaultChunkLimit = 8 << 20

// Resigner is an io.WriteCloser that hands an aws-chunked body on with new
// signatures in the place of the old ones. Nothing else changes: sizes, framing
// and length stay. It holds one chunk.
type Resigner struct {
	to    io.Writer
	out   *Chain
	in    *Chain
	limit int
	scan  scanner
	held  []byte // the chunk's data
	size  []byte
	old   [64]byte
	want  int64 // decoded length, -1 unknown
}

// ResignOptions are a Resigner's settings.
type ResignOptions struct {
	Payload string // StreamingPayload or StreamingPayloadTrailer
	In      *Chain // verifies what comes; nil: it is not verified
	Limit   int    // bytes of one chunk, 0 = DefaultChunkLimit
	// Length is x-amz-decoded-content-length; negative: unknown.
	Length int64
}

// NewResigner returns a Resigner that writes to w with the signatures of out.
func NewResigner(w io.Writer, out *Chain, o ResignOptions) (*Resigner, error) {
	f, err := framingOf(o.Payload)
	if err != nil {
		return nil, err
	}
	if !f.signed {
		return nil, fmt.Errorf("%w: %s has no signatures", ErrChunk, o.Payload)
	}
	if o.Limit <= 0 {
		o.Limit = DefaultChunkLimit
	}
	return &Resigner{to: w, out: out, in: o.In, limit: o.Limit, want: o.Length, scan: scanner{framing: f}}, nil
}

// Write takes the next bytes of the body. An error is final: ErrChunk,
// ErrChunkSignature, ErrChunkTooLong or the writer's.
func (r *Resigner) Write(p []byte) (int, error) {
	if err := r.scan.scan(p, r); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close is told that the body is over; it returns ErrChunk if it is not whole
// or not as long as the request said. It does not close the writer.
func (r *Resigner) Close() error {
	if err := r.scan.finish(r); err != nil {
		return err
	}
	return checkLength(r.scan.total, r.want)
}

func checkLength(got, want int64) error {
	if want >= 0 && got != want {
		return fmt.Errorf("%w: it has %d bytes decoded and the request says %d", ErrChunk, got, want)
	}
	return nil
}

func (r *Resigner) head(size []byte, n int64, signature []byte) error {
	if n > int64(r.limit) {
		return ErrChunkTooLong
	}
	if r.want >= 0 && r.scan.total > r.want {
		return checkLength(r.scan.total, r.want)
	}
	r.size = append(r.size[:0], size...)
	copy(r.old[:], signature)
	r.held = r.held[:0]
	return nil
}

func (r *Resigner) data(p []byte) error {
	r.held = append(r.held, p...)
	return nil
}

func (r *Resigner) end() error {
	sum := sha256.Sum256(r.held)
	if r.in != nil && !r.in.matches(r.in.Chunk(sum), r.old[:]) {
		return ErrChunkSignature
	}
	line := append(append(r.size, extension...), r.out.Chunk(sum)...)
	r.size = append(line, '\r', '\n')
	if _, err := r.to.Write(r.size); err != nil {
		return err
	}
	if r.scan.trailer && r.scan.last {
		return nil // no CRLF of its own before the trailer
	}
	r.held = append(r.held, '\r', '\n')
	_, err := r.to.Write(r.held)
	return err
}

func (r *Resigner) trailer(raw []byte, fields []Field, at [2]int) error {
	canonical := CanonicalTrailer(fields)
	if r.in != nil && !r.in.matches(r.in.Trailer(canonical), raw[at[0]:at[1]]) {
		return ErrChunkSignature
	}
	copy(raw[at[0]:at[1]], r.out.Trailer(canonical))
	_, err := r.to.Write(raw)
	return err
}
