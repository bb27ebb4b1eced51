package scrub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func grpcMessage(s string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(s))), s...)
}

func webSocketFrame(s string) []byte {
	b := []byte{0x81}
	switch n := len(s); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, s...)
}

// TestFramesKeepTheirLengths: whatever the pieces, every message comes out as it
// would alone, behind its own head, and as soon as it is whole.
func TestFramesKeepTheirLengths(t *testing.T) {
	f := filterOf(map[string]string{"0": canary})
	for name, kind := range map[string]struct {
		framing Framing
		encode  func(string) []byte
	}{"grpc": {GRPC, grpcMessage}, "websocket": {WebSocket, webSocketFrame}} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				var got, want bytes.Buffer
				var tally, alone Tally
				frames := f.Frames(kind.framing, Options{}, &tally)
				for range rapid.IntRange(1, 4).Draw(t, "messages") {
					text := textGen([]string{canary}).Draw(t, "text") + strings.Repeat("x", rapid.SampledFrom([]int{0, 0, 200, 70000}).Draw(t, "more"))
					want.Write(kind.encode(string(f.Clean([]byte(text), Options{Fit: true}, &alone))))
					for left := kind.encode(text); len(left) > 0; {
						n := rapid.IntRange(1, len(left)).Draw(t, "piece")
						out, err := frames.Next(left[:n])
						must(t, err)
						got.Write(out)
						left = left[n:]
					}
					if !bytes.Equal(got.Bytes(), want.Bytes()) {
						t.Fatalf("%q\nwant %q", got.String(), want.String())
					}
				}
			})
		})
	}
}

func TestFramesThatAreRefused(t *testing.T) {
	f := filterOf(map[string]string{"token": canary})
	for what, c := range map[string]struct {
		framing Framing
		bytes   string
		want    error
	}{
		"compressed grpc":     {GRPC, "\x01\x00\x00\x00\x05hello", ErrCoding},
		"compressed frame":    {WebSocket, "\xc1\x05hello", ErrCoding},
		"masked by a server":  {WebSocket, "\x81\x85hellohello", ErrContent},
		"fine":                {WebSocket, "\x81\x05hello", nil},
		"behind a fine frame": {WebSocket, "\x81\x05hello\xc1\x05hello", ErrCoding},
	} {
		if _, err := f.Frames(c.framing, Options{}, nil).Next([]byte(c.bytes)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	frames := f.Frames(GRPC, Options{}, nil)
	if out, _ := frames.Next([]byte("\x00\x00\x00\x00\x09 ! ")); string(out) != "\x00\x00\x00\x00\x09 ! " {
		t.Errorf("%q", out)
	}
	if out, _ := frames.Next([]byte(canary[:5])); len(out) != 0 {
		t.Errorf("%q", out)
	}
	if rest, err := frames.Close(nil); string(rest) != canary[:5] || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
}

// TestFragments: a message of a WebSocket comes in as many frames as its server likes,
// and with others in between that are none of it. What of a secret stands behind the
// frame that it began in is taken out, and that frame does not wait.
func TestFragments(t *testing.T) {
	f := filterOf(map[string]string{"0": canary})
	fragment := func(first byte, s string) []byte { return append([]byte{first, byte(len(s))}, s...) }
	for cut := 1; cut < len(canary); cut++ {
		for name, between := range map[string][]byte{"": nil, "ping": fragment(0x89, canary[cut:]), "nothing": fragment(0x00, "")} {
			var tally Tally
			frames := f.Frames(WebSocket, Options{}, &tally)
			send := func(frame []byte) string {
				out, err := frames.Next(frame)
				must(t, err)
				return string(out)
			}
			got := send(fragment(0x01, "a "+canary[:cut])) + send(between) + send(fragment(0x80, canary[cut:]+" b")) + send(fragment(0x81, canary[cut:]))
			want := string(fragment(0x01, "a "+canary[:cut])) + string(between) +
				string(fragment(0x80, strings.Repeat("*", len(canary)-cut)+" b")) + string(fragment(0x81, canary[cut:]))
			if rest := len(canary) - cut; len(mark("0")) <= rest {
				want = strings.Replace(want, strings.Repeat("*", rest), mark("0")+strings.Repeat("*", rest-len(mark("0"))), 1)
			}
			if got != want || len(tally) != 1 || tally[0].Count != 1 {
				t.Errorf("cut at %d, %s between: %v\n%q\nwant\n%q", cut, name, tally, got, want)
			}
		}
	}
}

func mark(name string) string { return "[redacted:" + name + "]" }

// TestAcrossFrames: who asks for frames need not read them as such. Where a server
// says that its text is frames, one of their heads may lie within a secret.
func TestAcrossFrames(t *testing.T) {
	f := filterOf(map[string]string{"token": canary})
	for at := range canary {
		if canary[at]&1 != 0 {
			continue // that would be the head of a compressed message
		}
		text := string(grpcMessage("x" + canary[:at]))
		text += canary[at:] + " is no token"
		for split := range len(text) {
			var tally Tally
			frames := f.Frames(GRPC, Options{}, &tally)
			got, err := frames.Next([]byte(text[:split]))
			must(t, err)
			got = bytes.Clone(got)
			rest, err := frames.Close([]byte(text[split:]))
			must(t, err)
			got = append(got, rest...)
			begun := 5 + 1 + at + 5 // what stands in front of the second message's content leaves as it comes
			if len(got) != len(text) || bytes.Contains(got, []byte(canary)) || len(tally) != 1 || split > begun && bytes.Contains(got, []byte(canary[at:])) {
				t.Fatalf("head at %d, in two at %d: %v\n%q", at, split, tally, got)
			}
		}
	}
}
