package sigv4

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/secret"
	"pgregory.net/rapid"
)

// chains gives two chains that begin alike.
func chains(t testing.TB, key string) (*Chain, *Chain) {
	t.Helper()
	s := signer("s3")
	s.Credentials.SecretKey = secret.New([]byte(key))
	r := Request{"PUT", "/b/k", []Field{{"Host", "h"}}}
	got, err := s.Sign(&r, StreamingPayloadTrailer, at)
	if err != nil {
		t.Fatal(err)
	}
	return got.Chain(), got.Chain()
}

func trailers() []Field {
	return []Field{{"x-amz-checksum-crc32c", "sOO8/Q=="}, {"a-first", "1"}}
}

// encoded is body as a workload would send it, and the chain that verifies it.
func encoded(t testing.TB, key string, body []byte, size int, trailer func() []Field) ([]byte, *Chain) {
	t.Helper()
	out, in := chains(t, key)
	var wire bytes.Buffer
	e, err := NewEncoder(&wire, out, size, trailer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return wire.Bytes(), in
}

func payloadOf(trailer func() []Field) string {
	if trailer == nil {
		return StreamingPayload
	}
	return StreamingPayloadTrailer
}

// feed writes wire in pieces of random size.
func feed(t *rapid.T, w io.Writer, wire []byte) error {
	for len(wire) > 0 {
		n := min(len(wire), rapid.IntRange(1, 97).Draw(t, "piece"))
		if _, err := w.Write(wire[:n]); err != nil {
			return err
		}
		wire = wire[n:]
	}
	return nil
}

// TestChunkRoundTrip: a body encoded under one key, signed anew under another
// and decoded is the same body, as long as before and in the same framing.
func TestChunkRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		body := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(rt, "body")
		size := rapid.IntRange(1, 80).Draw(rt, "size")
		trailer := trailers
		if rapid.Bool().Draw(rt, "plain") {
			trailer = nil
		}
		var list []Field
		if trailer != nil {
			list = trailer()
		}
		wire, in := encoded(t, "placeholder", body, size, trailer)
		if want := EncodedLength(int64(len(body)), size, list); int64(len(wire)) != want {
			rt.Fatalf("%d bytes, EncodedLength says %d", len(wire), want)
		}
		out, check := chains(t, "real")
		var resigned, data bytes.Buffer
		r, err := NewResigner(&resigned, out, ResignOptions{Payload: payloadOf(trailer), In: in, Length: int64(len(body))})
		if err != nil {
			rt.Fatal(err)
		}
		if err := errors.Join(feed(rt, r, wire), r.Close()); err != nil {
			rt.Fatal(err)
		}
		direct, _ := encoded(t, "real", body, size, trailer)
		if !bytes.Equal(resigned.Bytes(), direct) {
			rt.Fatalf("signed anew\n%q\nsigned at once\n%q", resigned.Bytes(), direct)
		}
		d, err := NewDecoder(&data, check, payloadOf(trailer), int64(len(body)))
		if err != nil {
			rt.Fatal(err)
		}
		if err := errors.Join(feed(rt, d, resigned.Bytes()), d.Close()); err != nil {
			rt.Fatal(err)
		}
		if !bytes.Equal(data.Bytes(), body) || len(d.Trailers()) != len(list) {
			rt.Fatalf("decoded %q, want %q; trailers %v", data.Bytes(), body, d.Trailers())
		}
	})
}

// TestChunkTamper: one byte changed, dropped or doubled anywhere is an error.
func TestChunkTamper(t *testing.T) {
	body := []byte(strings.Repeat("0123456789", 4))
	for _, trailer := range []func() []Field{nil, trailers} {
		wire, _ := encoded(t, "k", body, 16, trailer)
		for i := range wire {
			flipped := bytes.Clone(wire)
			flipped[i] ^= 1
			bad := [][]byte{flipped, append(bytes.Clone(wire[:i]), wire[i+1:]...), append(bytes.Clone(wire[:i+1]), wire[i:]...)}
			for n, b := range bad {
				// The case of a field name and white space around a value are not signed, nor
				// is a zero before a size.
				if err := decode1(t, b, trailer, int64(len(body))); err == nil && !harmless(wire, b) {
					t.Fatalf("change %d at %d of %q accepted", n, i, wire)
				}
			}
		}
		for i := range wire {
			if err := decode1(t, wire[:i], trailer, -1); err == nil {
				t.Fatalf("cut at %d: accepted", i)
			}
		}
	}
}

// harmless: the change is to white space only, or to the zeroes of the last size.
func harmless(a, b []byte) bool {
	clean := func(b []byte) string {
		s := strings.NewReplacer(" ", "", "\r", "", "\n", "", "\t", "").Replace(string(b))
		return strings.ReplaceAll(s, "00;", "0;")
	}
	return clean(a) == clean(b)
}

func decode1(t *testing.T, wire []byte, trailer func() []Field, length int64) error {
	_, in := chains(t, "k")
	d, err := NewDecoder(io.Discard, in, payloadOf(trailer), length)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Write(wire)
	return errors.Join(err, d.Close())
}

// TestTrailerForms: the ways that senders end their trailers.
func TestTrailerForms(t *testing.T) {
	wire, _ := encoded(t, "k", []byte("hello"), 16, func() []Field { return trailers()[:1] })
	sdk := string(wire)
	minio := strings.Replace(sdk, "==\r\n", "==\n\r\n", 1)
	docs := strings.TrimSuffix(minio, "\r\n\r\n") + "\n\r\n\r\n"
	short := strings.TrimSuffix(minio, "\r\n\r\n") + "\n\r\n"
	for name, form := range map[string]string{"sdk": sdk, "minio": minio, "docs": docs, "short": short} {
		if err := decode1(t, []byte(form), trailers, 5); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		out, in := chains(t, "k")
		var b strings.Builder
		r, err := NewResigner(&b, out, ResignOptions{Payload: StreamingPayloadTrailer, In: in, Length: 5})
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Write([]byte(form))
		if err = errors.Join(err, r.Close()); err != nil || b.String() != form {
			t.Errorf("%s: %v, %q", name, err, b.String())
		}
	}
}

// TestUnsignedTrailer: no signatures inside, yet the framing is checked.
func TestUnsignedTrailer(t *testing.T) {
	for form, ok := range map[string]bool{
		"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n":                true,
		"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\n\r\n\r\n":              true,
		"5\r\nhello\r\n0\r\n\r\n":                                                 true,
		"5\r\nhello\r\n0\r\n":                                                     false,
		"5\r\nhell\r\n0\r\n\r\n":                                                  false,
		"5;chunk-signature=" + strings.Repeat("0", 64) + "\r\nhello\r\n0\r\n\r\n": false,
		"5\r\nhello\r\n0\r\nno colon\r\n\r\n":                                     false,
		"5\r\nhello\r\n0\r\n\r\nx":                                                false,
		"fffffffffffffffff\r\n":                                                   false,
		"ffffffffffffff\r\n":                                                      false,
		"\r\n":                                                                    false,
	} {
		var b strings.Builder
		d, err := NewDecoder(&b, nil, StreamingUnsignedTrailer, -1)
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Write([]byte(form))
		if err = errors.Join(err, d.Close()); (err == nil) != ok {
			t.Errorf("%q: %v", form, err)
		}
		if err != nil && !errors.Is(err, ErrChunk) {
			t.Errorf("%q: %v is not ErrChunk", form, err)
		}
	}
}

func TestChunkLimits(t *testing.T) {
	wire, _ := encoded(t, "k", make([]byte, 100), 100, nil)
	out, _ := chains(t, "k")
	r, err := NewResigner(io.Discard, out, ResignOptions{Payload: StreamingPayload, Limit: 99, Length: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Write(wire); !errors.Is(err, ErrChunkTooLong) {
		t.Errorf("chunk over the limit: %v", err)
	}
	if _, err := r.Write(wire); !errors.Is(err, ErrChunkTooLong) || !errors.Is(r.Close(), ErrChunkTooLong) {
		t.Errorf("the error does not stay: %v", err)
	}
	for _, length := range []int64{99, 101} {
		if err := decode1(t, wire, nil, length); !errors.Is(err, ErrChunk) {
			t.Errorf("length %d: %v", length, err)
		}
	}
	for payload, want := range map[string]error{UnsignedPayload: ErrChunk, StreamingUnsignedTrailer: ErrChunk, EmptyPayload: ErrChunk,
		"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD": ErrSigV4A, "": ErrMalformed} {
		if _, err := NewResigner(io.Discard, out, ResignOptions{Payload: payload}); !errors.Is(err, want) {
			t.Errorf("%q: %v", payload, err)
		}
	}
}

// TestConstantMemory: 64 MiB of chunks pass through without a buffer that grows.
func TestConstantMemory(t *testing.T) {
	out, in := chains(t, "k")
	real, check := chains(t, "real")
	d, err := NewDecoder(io.Discard, check, StreamingPayload, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewResigner(d, real, ResignOptions{Payload: StreamingPayload, In: in, Length: 64 << 20, Limit: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewEncoder(r, out, 64<<10, nil)
	if err != nil {
		t.Fatal(err)
	}
	piece := make([]byte, 32<<10)
	for range 64 << 20 / len(piece) {
		if _, err := e.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(e.Close(), r.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	if cap(r.held) > 128<<10 || cap(e.held) > 65<<10 {
		t.Errorf("resigner holds %d, encoder %d", cap(r.held), cap(e.held))
	}
}

func FuzzChunks(f *testing.F) {
	for _, trailer := range []func() []Field{nil, trailers} {
		wire, _ := encoded(f, "k", []byte("hello, world"), 5, trailer)
		f.Add(wire, 7)
	}
	f.Add([]byte("5\r\nhello\r\n0\r\na:b\r\n\r\n"), 3)
	f.Fuzz(func(t *testing.T, wire []byte, cut int) {
		for _, payload := range []string{StreamingPayload, StreamingPayloadTrailer, StreamingUnsignedTrailer} {
			whole, pieces := &bytes.Buffer{}, &bytes.Buffer{}
			errWhole := decodeIn(t, whole, payload, wire, len(wire))
			errPieces := decodeIn(t, pieces, payload, wire, cut)
			if fmt.Sprint(errWhole) != fmt.Sprint(errPieces) || errWhole == nil && !bytes.Equal(whole.Bytes(), pieces.Bytes()) {
				t.Fatalf("at once: %v; in pieces of %d: %v", errWhole, cut, errPieces)
			}
		}
	})
}

func decodeIn(t *testing.T, w io.Writer, payload string, wire []byte, size int) error {
	d, err := NewDecoder(w, nil, payload, -1)
	if err != nil {
		t.Fatal(err)
	}
	if size < 1 {
		size = 1
	}
	for len(wire) > 0 {
		n := min(size, len(wire))
		if _, err := d.Write(wire[:n]); err != nil {
			return err
		}
		wire = wire[n:]
	}
	return d.Close()
}

func BenchmarkResign(b *testing.B) {
	wire, _ := encoded(b, "k", make([]byte, 4<<20), 64<<10, nil)
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		out, in := chains(b, "k")
		r, err := NewResigner(io.Discard, out, ResignOptions{Payload: StreamingPayload, In: in, Length: 4 << 20})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.Write(wire); err != nil {
			b.Fatal(err)
		}
	}
}
