package scrub

import (
	"encoding/binary"
	"fmt"
)

// Frames scrubs messages that have their length in front. What takes a match's
// place is as long as it is, so the lengths stay right, and nothing waits for what
// comes next. A secret that is spread over two messages is seen only where the second
// one's head is a part of it, and that it came in one piece; of one that is spread over
// two frames of a message, what stands in the first has gone.
type Frames struct {
	stream *Stream // of messages
	aside  *Stream // of frames that stand between those of a message; nil: there were none
	flat   *Stream // of all that leaves, as who reads no frames has it
	flown  []byte  // memory
	frame  Framing
	head   []byte // of the next frame, as far as it came
	place  place  // of this frame
	left   uint64 // of it
	out    []byte
	keep   bool
	blind  bool // keep: what comes can't be looked at any more
}

// Framing reads the head of a frame: how long it is, 0 if it is not whole yet, how
// long what follows, and what that is of a message.
type Framing func(head []byte) (n int, content uint64, p place, err error)

// place is what a frame is of a message.
type place uint8

const (
	last   place = iota // all of it, or the end
	early               // more frames of it follow
	beside              // nothing
)

// Frames begins such a stream.
func (f *Filter) Frames(frame Framing, o Options, tally *Tally) *Frames {
	o.Fit = true
	return &Frames{stream: f.Stream(o, tally), flat: f.Stream(o, tally), frame: frame, keep: o.Keep}
}

// Next takes the next piece and returns what can go on. Errors wrap ErrCoding or
// ErrContent. With Options.Keep there are none.
func (f *Frames) Next(p []byte) ([]byte, error) {
	if !f.keep {
		out, err := f.next(p)
		return f.across(out), err
	}
	if !f.blind {
		_, err := f.next(p)
		f.blind = err != nil
	}
	return p, nil
}

func (f *Frames) next(p []byte) ([]byte, error) {
	f.out = f.out[:0]
	for len(p) > 0 {
		if f.left == 0 {
			if err := f.begin(p[0]); err != nil {
				return nil, err
			}
			p = p[1:]
			continue
		}
		n := int(min(f.left, uint64(len(p))))
		f.out = append(f.out, f.of().Next(p[:n])...)
		p = p[n:]
		if f.left -= uint64(n); f.left == 0 {
			f.end()
		}
	}
	return f.out, nil
}

// of is the text that this frame is a part of.
func (f *Frames) of() *Stream {
	if f.place != beside {
		return f.stream
	}
	if f.aside == nil {
		f.aside = &Stream{c: f.stream.c, o: f.stream.o, tally: f.stream.tally}
	}
	return f.aside
}

// end lets all go that is left of this frame.
func (f *Frames) end() {
	if f.place == early {
		f.out = append(f.out, f.stream.Pause()...)
		return
	}
	f.out = append(f.out, f.of().End(nil)...)
}

// begin takes one byte of a frame's head.
func (f *Frames) begin(c byte) error {
	f.head = append(f.head, c)
	n, content, place, err := f.frame(f.head)
	if n == 0 || err != nil {
		return err
	}
	f.out, f.head, f.left, f.place = append(f.out, f.head...), f.head[:0], content, place
	if content == 0 {
		f.end()
	}
	return nil
}

// Held is false: the rest of a message is on its way.
func (*Frames) Held() bool { return false }

// Pause has nothing to let go.
func (*Frames) Pause() ([]byte, error) { return nil, nil }

// Close takes the last piece, and returns also what is there of a message that is cut
// short.
func (f *Frames) Close(p []byte) ([]byte, error) {
	if f.keep {
		return f.Next(p)
	}
	if _, err := f.next(p); err != nil {
		return nil, err
	}
	f.out = append(append(f.out, f.head...), f.of().End(nil)...)
	return f.across(f.out), nil
}

// across takes out what stands across the heads of frames. Nothing is kept back for
// it: of a secret that comes in two pieces the second goes.
func (f *Frames) across(out []byte) []byte {
	out = f.flat.Next(out)
	if f.flat.Held() == 0 {
		return out
	}
	f.flown = append(f.flown[:0], out...)
	return append(f.flown, f.flat.Pause()...)
}

// Stop has nothing to stop.
func (*Frames) Stop() {}

// GRPC is the framing of gRPC, and of gRPC-Web. A message that is compressed is an
// error.
func GRPC(head []byte) (n int, content uint64, p place, err error) {
	const size, compressed = 5, 1
	if head[0]&compressed != 0 {
		return 0, 0, last, fmt.Errorf("compressed message: %w", ErrCoding)
	}
	if len(head) < size {
		return 0, 0, last, nil
	}
	return size, uint64(binary.BigEndian.Uint32(head[1:])), last, nil
}

// WebSocket is the framing of a server's side (RFC 6455 section 5.2). A frame of an
// extension is an error, as it may be compressed.
func WebSocket(head []byte) (n int, content uint64, p place, err error) {
	const final, control, reserved, masked, two, eight = 0x80, 0x08, 0x70, 0x80, 126, 127
	switch {
	case head[0]&control != 0:
		p = beside
	case head[0]&final == 0:
		p = early
	}
	switch {
	case head[0]&reserved != 0:
		return 0, 0, last, fmt.Errorf("frame of an extension: %w", ErrCoding)
	case len(head) < 2:
		return 0, 0, last, nil
	case head[1]&masked != 0:
		return 0, 0, last, fmt.Errorf("a server masks nothing: %w", ErrContent)
	}
	switch short := uint64(head[1]); {
	case short < two:
		return 2, short, p, nil
	case short == two && len(head) >= 4:
		return 4, uint64(binary.BigEndian.Uint16(head[2:])), p, nil
	case short == eight && len(head) >= 10:
		return 10, binary.BigEndian.Uint64(head[2:]), p, nil
	}
	return 0, 0, last, nil
}
