package scrub

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// codec is one of the four codings as somebody else writes and reads it.
type codec struct {
	encoding string
	writer   func(io.Writer) encoder
	reader   func(io.Reader) (io.Reader, error)
}

var codecs = map[string]codec{
	"gzip": {"gzip", func(w io.Writer) encoder { return gzip.NewWriter(w) }, func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	"zlib": {"deflate", func(w io.Writer) encoder { return zlib.NewWriter(w) }, func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }},
	"bare": {"Deflate", func(w io.Writer) encoder { f, _ := flate.NewWriter(w, 6); return f }, func(r io.Reader) (io.Reader, error) { return flate.NewReader(r), nil }},
	"br":   {"br", func(w io.Writer) encoder { return brotli.NewWriter(w) }, func(r io.Reader) (io.Reader, error) { return brotli.NewReader(r), nil }},
	"zstd": {" zstd", func(w io.Writer) encoder { z, _ := zstd.NewWriter(w); return z }, func(r io.Reader) (io.Reader, error) {
		d, err := zstd.NewReader(r)
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}},
}

func (c codec) encode(t test, pieces ...string) []byte {
	var b bytes.Buffer
	w := c.writer(&b)
	for _, p := range pieces {
		must(t, func() error { _, err := io.WriteString(w, p); return err }())
		must(t, w.Flush())
	}
	must(t, w.Close())
	return b.Bytes()
}

func (c codec) decode(t test, coded []byte) string {
	r, err := c.reader(bytes.NewReader(coded))
	must(t, err)
	text, err := io.ReadAll(r)
	must(t, err)
	if closer, ok := r.(io.Closer); ok {
		_ = closer.Close()
	}
	return string(text)
}

type test interface{ Fatalf(string, ...any) }

func must(t test, err error) {
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// TestCodedAsPlain: in each coding, cut anywhere, what comes out decodes to what the
// plain text would have become.
func TestCodedAsPlain(t *testing.T) {
	f := filterOf(map[string]string{"0": canary})
	for name, c := range codecs {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				text := textGen([]string{canary}).Draw(t, "text")
				at := rapid.IntRange(0, len(text)).Draw(t, "flushed at")
				coded := c.encode(t, text[:at], text[at:])
				var tally, plain Tally
				want := string(f.Clean([]byte(text), Options{}, &plain))
				b, err := f.Body(c.encoding, Options{}, &tally)
				must(t, err)
				var out bytes.Buffer
				for left := coded; len(left) > 0; {
					n := rapid.IntRange(1, len(left)).Draw(t, "piece")
					p, err := b.Next(left[:n])
					must(t, err)
					out.Write(p)
					left = left[n:]
				}
				rest, err := b.Close(nil)
				must(t, err)
				out.Write(rest)
				if got := c.decode(t, out.Bytes()); got != want || fmt.Sprint(tally) != fmt.Sprint(plain) {
					t.Fatalf("%q, tally %v, want %q, %v", got, tally, want, plain)
				}
				if clean, err := f.CleanBody(c.encoding, coded); err != nil || clean != (want == text) {
					t.Fatalf("CleanBody: %v, %v", clean, err)
				}
			})
		})
	}
}

// TestCodedEventsDoNotWait: what the origin has flushed can be decoded at once,
// without what comes behind it.
func TestCodedEventsDoNotWait(t *testing.T) {
	f := filterOf(map[string]string{"token": canary})
	for name, c := range codecs {
		t.Run(name, func(t *testing.T) {
			var tally Tally
			b, err := f.Body(c.encoding, Options{}, &tally)
			must(t, err)
			var sent bytes.Buffer
			w := c.writer(&sent)
			r, feed := io.Pipe()
			events := make(chan string)
			go func() {
				defer close(events)
				d, err := c.reader(r)
				if err != nil {
					return
				}
				p := make([]byte, 1<<10)
				for {
					n, err := d.Read(p)
					if err != nil {
						break
					}
					if n > 0 {
						events <- string(p[:n])
					}
				}
				if closer, ok := d.(io.Closer); ok {
					_ = closer.Close()
				}
			}()
			for i := range 5 {
				event := fmt.Sprintf("data: %d %s\n\n", i, canary)
				sent.Reset()
				must(t, func() error { _, err := io.WriteString(w, event); return err }())
				must(t, w.Flush())
				out, err := b.Next(sent.Bytes())
				must(t, err)
				copied := bytes.Clone(out)
				go func() { _, _ = feed.Write(copied) }()
				want := fmt.Sprintf("data: %d [redacted:token]\n\n", i)
				for got := ""; got != want; {
					got += <-events
					if !strings.HasPrefix(want, got) {
						t.Fatalf("event %d is %q", i, got)
					}
				}
			}
			b.Stop()
			_ = feed.CloseWithError(io.ErrUnexpectedEOF)
			<-events
			_ = w.Close()
		})
	}
}

func TestCodingsThatAreRefused(t *testing.T) {
	f := filterOf(map[string]string{"token": canary})
	for _, encoding := range []string{"compress", "gzip, br", "br,gzip", "aws-chunked", "zstd;q=1", "*"} {
		if _, err := f.Body(encoding, Options{}, nil); !errors.Is(err, ErrCoding) || !Coded(encoding) {
			t.Errorf("%s: %v", encoding, err)
		}
	}
	for _, encoding := range []string{"", "identity", " Identity"} {
		if b, err := f.Body(encoding, Options{}, nil); err != nil || !b.Plain() || Coded(encoding) {
			t.Errorf("%s: %v", encoding, err)
		}
	}
}

// TestDamagedContent: content that ends early, or is something else, is an error
// and never a whole content.
func TestDamagedContent(t *testing.T) {
	f := filterOf(map[string]string{"token": canary})
	noise := make([]byte, 3000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for name, c := range codecs {
		coded := c.encode(t, string(noise), "the end")
		for what, damaged := range map[string][]byte{
			"cut": coded[:len(coded)-6], "cut in the middle": coded[:len(coded)/2], "another": []byte("<html>not encoded at all</html>"),
		} {
			if whole(f, c.encoding, damaged) == nil {
				t.Errorf("%s, %s: no error", name, what)
			}
		}
		if err := whole(f, c.encoding, coded); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := whole(f, c.encoding, nil); err != nil {
			t.Errorf("%s, nothing at all: %v", name, err)
		}
	}
}

func whole(f *Filter, encoding string, coded []byte) error {
	var tally Tally
	b, err := f.Body(encoding, Options{}, &tally)
	if err != nil {
		return err
	}
	defer b.Stop()
	if _, err := b.Next(coded); err != nil {
		return err
	}
	_, err = b.Close(nil)
	return err
}

// TestBombs: content that grows without bounds is given up early, and a window that
// is too wide is not made.
func TestBombs(t *testing.T) {
	f := filterOf(map[string]string{"token": canary})
	zeros := strings.Repeat("\x00", 1<<20)
	for name, c := range codecs {
		bomb := c.encode(t, strings.Repeat(zeros, 8))
		if err := whole(f, c.encoding, bomb); !errors.Is(err, ErrExpands) {
			t.Errorf("%s: %d bytes: %v", name, len(bomb), err)
		}
		if err := whole(f, c.encoding, c.encode(t, zeros[:1<<19])); err != nil {
			t.Errorf("%s: half a megabyte of zeros: %v", name, err)
		}
	}
	wide := []byte("\x28\xb5\x2f\xfd\x00\x78\x01\x00\x00") // RFC 8878: a frame with a window of 32 MiB, and an empty block
	if err := whole(f, "zstd", wide); !errors.Is(err, ErrContent) {
		t.Errorf("a window of 32 MiB: %v", err)
	}
	wide[5] = 0x68 // 8 MiB
	if err := whole(f, "zstd", wide); err != nil {
		t.Errorf("a window of 8 MiB: %v", err)
	}
}

func FuzzBody(f *testing.F) {
	for _, c := range codecs {
		f.Add(c.encoding, c.encode(f, "abc "+canary), uint8(7))
	}
	filter := filterOf(map[string]string{"token": canary})
	f.Fuzz(func(t *testing.T, encoding string, coded []byte, size uint8) {
		var tally Tally
		b, err := filter.Body(encoding, Options{}, &tally)
		if err != nil {
			return
		}
		defer b.Stop()
		for len(coded) > 0 {
			n := min(len(coded), 1+int(size))
			if _, err := b.Next(coded[:n]); err != nil {
				return
			}
			coded = coded[n:]
		}
		_, _ = b.Close(nil)
	})
}

// TestKeepChangesNothing: with Keep the very bytes go on, also those that can't be
// read; what can be is counted.
func TestKeepChangesNothing(t *testing.T) {
	f := filterOf(map[string]string{"token": canary})
	for name, c := range codecs {
		coded := c.encode(t, "abc "+canary, canary+" def")
		for what, content := range map[string][]byte{"whole": coded, "cut": coded[:len(coded)-3], "garbage": []byte("not encoded at all, not in the least"), "nothing": nil} {
			var tally Tally
			b, err := f.Body(c.encoding, Options{Keep: true}, &tally)
			must(t, err)
			var got bytes.Buffer
			for i := range content {
				out, err := b.Next(content[i : i+1])
				must(t, err)
				got.Write(out)
			}
			out, err := b.Close(nil)
			must(t, err)
			got.Write(out)
			if !bytes.Equal(got.Bytes(), content) || b.Held() {
				t.Errorf("%s, %s: other bytes went on", name, what)
			}
			if found := len(tally) == 1 && tally[0].Count == 2; found != (what == "whole" || what == "cut") {
				t.Errorf("%s, %s: tally %v", name, what, tally)
			}
		}
	}
	var tally Tally
	frames := f.Frames(GRPC, Options{Keep: true}, &tally)
	for _, p := range []string{string(grpcMessage(canary)), "\x01compressed", "more"} {
		if out, err := frames.Next([]byte(p)); string(out) != p || err != nil {
			t.Errorf("%q became %q, %v", p, out, err)
		}
	}
	if len(tally) != 1 {
		t.Errorf("tally %v", tally)
	}
}
