package scrub

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
)

// Body scrubs the content of a message, in the coding that it has. Nothing waits in
// it: the decoder, which wants to read, is resumed when there is something, and
// stands still when there is nothing (iter.Pull).
type Body struct {
	stream Stream
	keep   bool // it goes on as it came, and is only looked at
	blind  bool // that can't be done any more
	*recoder
}

// recoder is what a Body has besides where it decodes; a plain one has none.
type recoder struct {
	source  source
	resume  func() ([]byte, bool)
	stop    func()
	decoded int64

	encoder encoder
	out     bytes.Buffer
}

// Body begins a content with this Content-Encoding. The error is ErrCoding.
func (f *Filter) Body(encoding string, o Options, tally *Tally) (*Body, error) {
	c := codingOf(encoding)
	if c == unknown {
		return nil, ErrCoding
	}
	b := &Body{stream: f.stream(o, tally), keep: o.Keep}
	if c != identity {
		b.recoder = &recoder{source: source{coding: c}}
	}
	return b, nil
}

// CleanBody reports whether nothing is to be found in a content that is whole, which
// then can stay as it is: nor in what its encoding says of itself, as gzip has a name.
func (f *Filter) CleanBody(encoding string, content []byte) (bool, error) {
	if f.Has(content) {
		return false, nil
	}
	var tally Tally
	b, err := f.Body(encoding, Options{Keep: true}, &tally)
	if err != nil {
		return false, err
	}
	err = b.look(content, end)
	b.Stop()
	return len(tally) == 0, err
}

// Coded reports whether an encoding is one that Body has to decode, or refuses.
func Coded(encoding string) bool { return codingOf(encoding) != identity }

// Plain reports whether the content is as it is read, so that Options.Fit keeps its
// length.
func (b *Body) Plain() bool { return b.recoder == nil }

// Next takes the next piece of the content and returns what can go on. Errors are
// ErrExpands, or wrap ErrContent; no more of the content may go on then. With
// Options.Keep there are none: what can't be looked at goes on unseen.
func (b *Body) Next(p []byte) ([]byte, error) {
	if b.keep {
		b.watch(p, more)
		return p, nil
	}
	if b.Plain() {
		return b.stream.Next(p), nil
	}
	b.out.Reset()
	b.source.feed(p)
	if err := b.decode(); err != nil {
		return nil, err
	}
	return b.flush()
}

// Held reports whether something waits for what comes next.
func (b *Body) Held() bool { return !b.keep && b.stream.Held() > 0 }

// Pause is Stream.Pause.
func (b *Body) Pause() ([]byte, error) {
	if b.Plain() {
		return b.stream.Pause(), nil
	}
	b.out.Reset()
	if err := b.write(b.stream.Pause()); err != nil {
		return nil, err
	}
	return b.flush()
}

// Close takes the last piece, which may be empty, and returns all that is left. A
// content that is cut short wraps ErrContent.
func (b *Body) Close(p []byte) ([]byte, error) {
	if b.keep {
		b.watch(p, end)
		return p, nil
	}
	if b.Plain() {
		return b.stream.End(p), nil
	}
	defer b.Stop()
	b.out.Reset()
	b.source.feed(p)
	if b.source.total == 0 {
		return nil, nil
	}
	b.source.ended = true
	if err := b.decode(); err != nil {
		return nil, err
	}
	if err := b.write(b.stream.End(nil)); err != nil {
		return nil, err
	}
	if err := b.encode(); err != nil {
		return nil, err
	}
	err := b.encoder.Close()
	return b.out.Bytes(), err
}

// Stop gives up a content that is not closed. It may be called more than once.
func (b *Body) Stop() {
	if b != nil && !b.Plain() && b.stop != nil {
		b.stop()
	}
}

// watch looks at a piece, as long as that works.
func (b *Body) watch(p []byte, u until) {
	if b.blind {
		return
	}
	if b.blind = b.look(p, u) != nil; b.blind || u == end {
		b.Stop()
	}
}

// look counts what is found in a piece.
func (b *Body) look(p []byte, u until) error {
	if !b.Plain() {
		b.source.feed(p)
		if b.source.ended = u == end; b.source.total == 0 {
			return nil
		}
		if err := b.decode(); err != nil {
			return err
		}
		p = nil
	}
	if u == end {
		b.stream.End(p)
	} else {
		b.stream.Next(p)
	}
	return nil
}

// decode scrubs and encodes all that can be decoded now.
func (b *Body) decode() error {
	if b.resume == nil {
		b.resume, b.stop = iter.Pull(b.source.pieces)
	}
	for {
		p, going := b.resume()
		switch {
		case !going:
			return b.source.end()
		case p == nil:
			return nil
		}
		b.decoded += int64(len(p))
		if b.decoded > freeOfCharge+maxExpansion*b.source.total {
			return ErrExpands
		}
		if err := b.write(b.stream.Next(p)); err != nil {
			return err
		}
	}
}

func (b *Body) write(p []byte) error {
	if len(p) == 0 || b.keep {
		return nil
	}
	if err := b.encode(); err != nil {
		return err
	}
	_, err := b.encoder.Write(p)
	return err
}

// encode makes the encoder, when the decoder has seen what it has to write.
func (b *Body) encode() (err error) {
	if b.encoder == nil {
		b.encoder, err = b.source.coding.encoder(&b.out)
	}
	return err
}

// flush makes everything written leave, so that an event never waits for the next.
func (b *Body) flush() ([]byte, error) {
	if b.encoder == nil {
		return nil, nil
	}
	err := b.encoder.Flush()
	return b.out.Bytes(), err
}

// source is what the decoder reads.
type source struct {
	coding coding
	in     []byte
	total  int64 // of what came
	ended  bool  // nothing more comes
	yield  func([]byte) bool
	err    error // why the decoder has ended
}

func (s *source) feed(p []byte) { s.in, s.total = p, s.total+int64(len(p)) }

var errStopped = errors.New("stopped")

// Read gives what is there, and otherwise stands still until there is more.
func (s *source) Read(p []byte) (int, error) {
	for len(s.in) == 0 {
		if s.ended {
			return 0, io.EOF
		}
		if !s.yield(nil) {
			return 0, errStopped
		}
	}
	n := copy(p, s.in)
	s.in = s.in[n:]
	return n, nil
}

// pieces yields what the decoder reads, and nil when it needs more to go on.
func (s *source) pieces(yield func([]byte) bool) {
	s.yield = yield
	var r io.Reader
	if r, s.coding, s.err = s.coding.decoder(s); s.err != nil {
		return
	}
	if c, ok := r.(io.Closer); ok {
		defer func() { _ = c.Close() }()
	}
	p := make([]byte, 16<<10)
	for {
		n, err := r.Read(p)
		if n > 0 && !yield(p[:n]) {
			return
		}
		if err != nil {
			s.err = err
			return
		}
	}
}

// end says how the decoder has ended. Bytes behind the coding's own end are no
// content, and who knows what another reader makes of them.
func (s *source) end() error {
	switch {
	case !errors.Is(s.err, io.EOF):
		return fmt.Errorf("%w: %w", ErrContent, s.err)
	case len(s.in) > 0:
		return fmt.Errorf("%w: bytes behind its end", ErrContent)
	}
	return nil
}
