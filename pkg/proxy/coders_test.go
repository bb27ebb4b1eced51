package proxy_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

type coder interface {
	io.WriteCloser
	Flush() error
}

var coders = map[string]func(io.Writer) coder{
	"gzip":    func(w io.Writer) coder { return gzip.NewWriter(w) },
	"deflate": func(w io.Writer) coder { return zlib.NewWriter(w) },
	"br":      func(w io.Writer) coder { return brotli.NewWriter(w) },
	"zstd":    func(w io.Writer) coder { z, _ := zstd.NewWriter(w); return z },
}

// decoded is the whole of what was encoded.
func decoded(t testing.TB, encoding string, b []byte) string {
	t.Helper()
	text, err := io.ReadAll(decoderOf(t, encoding, bytes.NewReader(b)))
	must(t, err)
	return string(text)
}

type nopCoder struct{ io.Writer }

func (nopCoder) Flush() error { return nil }
func (nopCoder) Close() error { return nil }

func decoderOf(t testing.TB, encoding string, r io.Reader) io.Reader {
	var err error
	switch encoding {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "deflate":
		r, err = zlib.NewReader(r)
	case "br":
		r = brotli.NewReader(r)
	case "zstd":
		var d *zstd.Decoder
		d, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		r = d
	}
	must(t, err)
	return r
}
