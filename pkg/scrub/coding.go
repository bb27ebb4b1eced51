package scrub

import (
	"bufio"
	"errors"
	"hash"
	"hash/adler32"
	"io"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// Bounds of what a decoder may need. They are those of RFC 9659; brotli's window is
// 16 MiB at most by its format, deflate's 32 KiB.
const (
	maxWindow    = 8 << 20
	maxExpansion = 256     // bytes of content for each that came
	freeOfCharge = 1 << 20 // bytes of content that are not held against it
)

// coding is a content coding (RFC 9110 section 8.4.1).
type coding uint8

const (
	identity coding = iota
	gzipped
	deflated
	brotlied
	zstandard
	unknown
)

// codingOf reads Content-Encoding. A list of several is unknown.
func codingOf(name string) coding {
	switch strings.ToLower(strings.Trim(name, " \t")) {
	case "", "identity":
		return identity
	case "gzip", "x-gzip":
		return gzipped
	case "deflate":
		return deflated
	case "br":
		return brotlied
	case "zstd":
		return zstandard
	}
	return unknown
}

// decoder reads the coding from r. What else has to be said of the content, for
// encoder, is in the coding that it returns.
func (c coding) decoder(r io.Reader) (io.Reader, coding, error) {
	switch c {
	case gzipped:
		d, err := gzip.NewReader(r)
		return d, c, err
	case deflated:
		return inflater(r)
	case brotlied:
		return brotli.NewReader(r), c, nil
	}
	d, err := newUnzstd(r)
	return d, c, err
}

// unzstd is a decoder that is used again: its window is large, and made before a
// content is known to need it.
type unzstd struct{ *zstd.Decoder }

var unzstds sync.Pool

func newUnzstd(r io.Reader) (unzstd, error) {
	if d, ok := unzstds.Get().(*zstd.Decoder); ok {
		return unzstd{d}, d.Reset(r)
	}
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	return unzstd{d}, err
}

// Close gives the decoder back.
func (d unzstd) Close() error {
	err := d.Reset(nil)
	unzstds.Put(d.Decoder)
	return err
}

// bare is deflated without the zlib format around it, as some servers send it.
const bare coding = unknown + 1

func inflater(r io.Reader) (io.Reader, coding, error) {
	b := bufio.NewReader(r)
	head, err := b.Peek(2)
	if err != nil {
		return nil, deflated, err
	}
	if head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
		d, err := zlib.NewReader(b)
		return d, deflated, err
	}
	return flate.NewReader(b), bare, nil
}

// encoder is what writes a coding. After Flush everything written can be decoded.
type encoder interface {
	io.WriteCloser
	Flush() error
}

// encoder writes the coding to w, fast, in little memory.
func (c coding) encoder(w io.Writer) (encoder, error) {
	switch c {
	case gzipped:
		return gzip.NewWriterLevel(w, gzip.StatelessCompression)
	case deflated:
		return &deflater{w: w, sum: adler32.New()}, nil
	case bare:
		return &deflater{w: w}, nil
	case brotlied:
		return brotli.NewWriterOptions(w, brotli.WriterOptions{Quality: 1, LGWin: 18}), nil
	}
	return newRezstd(w)
}

// rezstd is an encoder that is used again, for the same reason.
type rezstd struct{ *zstd.Encoder }

var rezstds sync.Pool

func newRezstd(w io.Writer) (rezstd, error) {
	if e, ok := rezstds.Get().(*zstd.Encoder); ok {
		e.Reset(w)
		return rezstd{e}, nil
	}
	e, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true))
	return rezstd{e}, err
}

// Close ends the content and gives the encoder back.
func (e rezstd) Close() error {
	err := e.Encoder.Close()
	e.Reset(nil)
	rezstds.Put(e.Encoder)
	return err
}

// deflater writes the zlib format (RFC 1950), or what lies in it if sum is nil. It
// keeps no window, so each piece stands alone and has left when Write returns.
type deflater struct {
	w     io.Writer
	sum   hash.Hash32
	begun bool
}

func (d *deflater) Write(p []byte) (int, error) {
	if !d.begun && d.sum != nil {
		if _, err := d.w.Write([]byte{0x78, 0x01}); err != nil {
			return 0, err
		}
	}
	d.begun = true
	if d.sum != nil {
		_, _ = d.sum.Write(p)
	}
	return len(p), flate.StatelessDeflate(d.w, p, false, nil)
}

func (d *deflater) Flush() error { return nil }

func (d *deflater) Close() error {
	if _, err := d.Write(nil); err != nil { // an empty text has a header too
		return err
	}
	if err := flate.StatelessDeflate(d.w, nil, true, nil); err != nil || d.sum == nil {
		return err
	}
	_, err := d.w.Write(d.sum.Sum(nil))
	return err
}

var (
	// ErrCoding is returned for a Content-Encoding that cannot be looked into.
	ErrCoding = errors.New("content-encoding is none of gzip, deflate, br and zstd")
	// ErrExpands is returned for content that is too large once decoded.
	ErrExpands = errors.New("content expands to more than 256 times its size")
	// ErrContent wraps what a decoder says of content that it can't read.
	ErrContent = errors.New("content is not what its content-encoding says")
)
