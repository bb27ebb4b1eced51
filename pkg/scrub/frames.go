package scrub

import (
	"encoding/binary"
	"fmt"
)

// Frames scrubs messages that have their length in front. What takes a match's
// place is as long as it is, so the lengths stay right, and no message waits for
// the next. A secret that is spread over two is not seen.
type Frames struct {
	stream *Stream
	frame  Framing
	head   []byte // of the next message, as far as it came
	left   uint64 // of this message
	out    []byte
	keep   bool
	blind  bool // keep: what comes can't be looked at any more
}

// Framing reads the head of a message: how long it is, 0 if it is not whole yet,
// and how long what follows.
type Framing func(head []byte) (n int, content uint64, err error)

// Frames begins such a stream.
func (f *Filter) Frames(frame Framing, o Options, tally *Tally) *Frames {
	o.Fit = true
	return &Frames{stream: f.Stream(o, tally), frame: frame, keep: o.Keep}
}

// Next takes the next piece and returns what can go on. Errors wrap ErrCoding or
// ErrContent. With Options.Keep there are none.
func (f *Frames) Next(p []byte) ([]byte, error) {
	if !f.keep {
		return f.next(p)
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
		f.out = append(f.out, f.stream.Next(p[:n])...)
		p = p[n:]
		if f.left -= uint64(n); f.left == 0 {
			f.out = append(f.out, f.stream.End(nil)...)
		}
	}
	return f.out, nil
}

// begin takes one byte of a message's head.
func (f *Frames) begin(c byte) error {
	f.head = append(f.head, c)
	n, content, err := f.frame(f.head)
	if n == 0 || err != nil {
		return err
	}
	f.out, f.head, f.left = append(f.out, f.head...), f.head[:0], content
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
	f.out = append(append(f.out, f.head...), f.stream.End(nil)...)
	return f.out, nil
}

// Stop has nothing to stop.
func (*Frames) Stop() {}

// GRPC is the framing of gRPC, and of gRPC-Web. A message that is compressed is an
// error.
func GRPC(head []byte) (n int, content uint64, err error) {
	const size, compressed = 5, 1
	if head[0]&compressed != 0 {
		return 0, 0, fmt.Errorf("compressed message: %w", ErrCoding)
	}
	if len(head) < size {
		return 0, 0, nil
	}
	return size, uint64(binary.BigEndian.Uint32(head[1:])), nil
}

// WebSocket is the framing of a server's side (RFC 6455 section 5.2). A frame of an
// extension is an error, as it may be compressed.
func WebSocket(head []byte) (n int, content uint64, err error) {
	const reserved, masked, two, eight = 0x70, 0x80, 126, 127
	switch {
	case head[0]&reserved != 0:
		return 0, 0, fmt.Errorf("frame of an extension: %w", ErrCoding)
	case len(head) < 2:
		return 0, 0, nil
	case head[1]&masked != 0:
		return 0, 0, fmt.Errorf("a server masks nothing: %w", ErrContent)
	}
	switch short := uint64(head[1]); {
	case short < two:
		return 2, short, nil
	case short == two && len(head) >= 4:
		return 4, uint64(binary.BigEndian.Uint16(head[2:])), nil
	case short == eight && len(head) >= 10:
		return 10, binary.BigEndian.Uint64(head[2:]), nil
	}
	return 0, 0, nil
}
