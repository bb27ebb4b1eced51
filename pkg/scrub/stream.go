package scrub

// Stream scrubs text that comes in pieces.
type Stream struct {
	c     *compiled
	o     Options
	tally *Tally

	held []byte // what may be the beginning of a secret
	gone int    // how much of held Pause has let go already

	text, out []byte // memory
}

// Options say what becomes of a match.
type Options struct {
	Keep bool // it is counted, and stays
	Fit  bool // what takes its place is as long as it is
}

// Stream begins a text. What is found in it is added to tally.
func (f *Filter) Stream(o Options, tally *Tally) *Stream {
	s := f.stream(o, tally)
	return &s
}

func (f *Filter) stream(o Options, tally *Tally) Stream {
	return Stream{c: f.reveal(), o: o, tally: tally}
}

// Clean scrubs a text that is whole. It returns text itself where nothing is found.
func (f *Filter) Clean(text []byte, o Options, tally *Tally) []byte {
	s := f.stream(o, tally)
	return s.pass(text, end)
}

// Has reports whether a secret stands in a text that is whole.
func (f *Filter) Has(text []byte) bool {
	c := f.reveal()
	for i := c.next(text, 0, end); i < len(text); i = c.next(text, i+1, end) {
		if n, _, _ := c.match(text[i:]); n > 0 {
			return true
		}
	}
	return false
}

// Next takes the next piece and returns what can go on. It may be p's memory.
func (s *Stream) Next(p []byte) []byte { return s.pass(s.join(p), more) }

// Pause lets go of what Next has kept back, because nothing more comes for now. If
// it was the beginning of a secret, the rest of that is still taken out.
func (s *Stream) Pause() []byte { return s.pass(s.join(nil), pause) }

// End takes the last piece, which may be empty, and returns all that is left. The
// stream is ready for another text then.
func (s *Stream) End(p []byte) []byte { return s.pass(s.join(p), end) }

// Held is how many bytes wait for what comes next.
func (s *Stream) Held() int { return len(s.held) - s.gone }

// join puts p behind what is held.
func (s *Stream) join(p []byte) []byte {
	if len(s.held) == 0 {
		return p
	}
	s.text = append(append(s.text[:0], s.held...), p...)
	return s.text
}

// until says what follows a text.
type until uint8

const (
	more  until = iota // at once
	pause              // some time
	end                // nothing
)

// pass finds the matches in text. It returns what may go, and holds what must
// not yet. Where nothing has to change, what may go is text's own memory.
func (s *Stream) pass(text []byte, u until) []byte {
	s.out = s.out[:0]
	from, keep, changed := s.gone, -1, false
	for i := s.c.next(text, 0, u); i < len(text); i = s.c.next(text, i, u) {
		n, credential, live := s.c.match(text[i:])
		if live && u != end && keep < 0 {
			if keep = i; u == more {
				break
			}
		}
		if n == 0 {
			i++
			continue
		}
		if i+n > s.gone { // otherwise it was dealt with before
			s.tally.add(s.c.names[credential])
			if !s.o.Keep {
				s.out = append(s.out, text[from:max(i, from)]...)
				s.out = s.mark(s.out, credential, n, max(s.gone-i, 0))
				from, changed = i+n, true
			}
		}
		i += n
	}
	return s.settle(text, from, keep, u, changed)
}

// settle ends pass: all from from on may go, or what stands in front of keep.
func (s *Stream) settle(text []byte, from, keep int, u until, changed bool) []byte {
	to := len(text)
	if u == more && keep >= 0 {
		to = max(keep, from)
	}
	rest := text[from:to]
	if changed {
		s.out = append(s.out, rest...)
		rest = s.out
	}
	s.hold(text, keep, to)
	return rest
}

// hold keeps text from keep on, of which what stands in front of to has gone.
func (s *Stream) hold(text []byte, keep, to int) {
	if keep < 0 {
		s.held, s.gone = s.held[:0], 0
		return
	}
	s.held, s.gone = append(s.held[:0], text[keep:]...), max(to-keep, 0)
}

// mark appends what stands in place of n bytes, of which skip have gone as they
// were.
func (s *Stream) mark(dst []byte, credential, n, skip int) []byte {
	mark := s.c.marks[credential]
	if !s.o.Fit {
		return append(dst, mark...)
	}
	at := len(dst)
	if len(mark) <= n-skip {
		dst = append(dst, mark...)
	}
	for len(dst) < at+n-skip {
		dst = append(dst, '*')
	}
	return dst
}
