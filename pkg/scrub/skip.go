package scrub

import "encoding/binary"

// gram is how many bytes are looked at together.
const gram = 3

// grams is a set of three bytes each, without regard to the case of letters. It
// may hold more than was put in, never less.
type grams [1 << 16 / 64]uint64

func slotOf(g uint32) uint32 {
	const fold, spread = 0x202020, 0x9e3779b1
	return ((g&0xffffff | fold) * spread) >> 16
}

func (s *grams) add(g uint32) { slot := slotOf(g); s[slot/64] |= 1 << (slot % 64) }

// has reports whether four bytes begin with a gram of the set.
func (s *grams) has(b []byte) bool { return s.bit(b)&1 != 0 }

// bit has it as its lowest bit; the others say nothing.
func (s *grams) bit(b []byte) uint64 {
	slot := slotOf(binary.LittleEndian.Uint32(b))
	return s[slot/64] >> (slot % 64)
}

// widest bounds how far is skipped at once, and so how many grams are in the set.
const widest = 32

// shortest is the length of the shortest text of a form, widest at most.
func (f *form) shortest() int {
	return min(widest, f.distances()[f.accept])
}

// distances are how many bytes lead to each node at least.
func (f *form) distances() []int {
	d := make([]int, len(f.nodes))
	for i := range d[1:] {
		d[i+1] = 1 << 30
	}
	for i, edges := range f.nodes {
		for _, e := range edges {
			d[e.to] = min(d[e.to], d[i]+len(e.text))
		}
	}
	return d
}

// eachGram visits every gram that may stand in the first bytes of the form, most
// at a time, and where it may stand at the earliest.
func (f *form) eachGram(most int, visit func(at int, g uint32)) {
	for node, at := range f.distances() {
		if at > most {
			continue
		}
		for _, e := range f.nodes[node] {
			for i := range len(e.text) {
				f.collect(e.text[i:], e.to, 0, 0, func(g uint32) { visit(at+i, g) })
			}
		}
	}
}

// collect adds bytes of text, and of what may follow it, until there are enough
// for a gram.
func (f *form) collect(text string, to int, g uint32, have int, visit func(uint32)) {
	for i := range len(text) {
		g |= uint32(text[i]) << (8 * have)
		if have++; have == gram {
			visit(g)
			return
		}
	}
	for _, e := range f.nodes[to] {
		f.collect(e.text, e.to, g, have, visit)
	}
}

// next returns the first place, from i on, where a form may begin; len(text) if
// there is none. If the last three bytes of a window as long as the shortest form
// stand in no form, none begins in the window in front of the last two.
func (c *compiled) next(text []byte, i int, u until) int {
	window := c.window
	for i+window < len(text) {
		if last := i + window - gram; !c.inner.has(text[last:]) {
			if i = last + 1; len(text)-i >= block {
				i += c.inner.leap(text[i:], window)
			}
			continue
		}
		if c.first.has(text[i:]) {
			return i
		}
		i++
	}
	if u == end && i+window > len(text) {
		return len(text) // a form would not fit
	}
	for ; i < len(text); i++ {
		if len(c.leads[text[i]]) > 0 {
			return i
		}
	}
	return i
}

// block is what four of the widest windows in a row reach over at most, with the
// byte that is loaded behind a gram.
const block = 4*widest + gram

// leap returns how many bytes may be passed over because the last gram of no window
// in them is in a form. It looks at four windows at a time without a branch in
// between. The masks change nothing: by them the compiler knows that no place lies
// outside of the block.
func (s *grams) leap(text []byte, window int) int {
	const inside = 4*widest - 1
	whole, stride := len(text), window-gram+1
	one, two, three, four := (stride-1)&inside, (2*stride-1)&inside, (3*stride-1)&inside, (4*stride-1)&inside
	for len(text) >= block {
		b := (*[block]byte)(text)
		if (s.bit(b[one:])|s.bit(b[two:])|s.bit(b[three:])|s.bit(b[four:]))&1 != 0 {
			break
		}
		text = text[four+1:]
	}
	for len(text) > window && !s.has(text[stride-1:]) {
		text = text[stride:]
	}
	return whole - len(text)
}
