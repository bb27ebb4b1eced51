package h2

import "golang.org/x/net/http2/hpack"

// A memo of the encoder is the index of an entry of the static table, or the number
// of one of the dynamic table behind that; 0: none. It is a hint: the entry may have
// left, or have been another field's.
const firstNumber = 62

// pairSlot spreads fields over the memos by their lengths and ends.
func pairSlot(f *hpack.HeaderField) uint {
	h := uint(len(f.Name))*131 + uint(len(f.Value))*7
	if n := len(f.Name); n > 0 {
		h += uint(f.Name[0])*31 + uint(f.Name[n-1])*17
	}
	if n := len(f.Value); n > 0 {
		h += uint(f.Value[0])*29 + uint(f.Value[n-1])*13
	}
	return (h ^ h>>6) % memoSize
}

// recall returns the index that memo stands for, if it is still f's; or 0.
func (e *encoder) recall(memo uint32, f *hpack.HeaderField) uint64 {
	if memo < firstNumber {
		if memo > 0 && same(&staticTable[memo-1], f) {
			return uint64(memo)
		}
		return 0
	}
	age := uint32(e.next) - (memo - firstNumber) // modulo 2^32, which a guess may be
	if age == 0 || uint(age) > e.n || !same(e.entry(e.next-uint(age)), f) {
		return 0
	}
	return e.indexOf(e.next - uint(age))
}

func (e *encoder) indexOf(number uint) uint64 {
	return uint64(len(staticTable)) + uint64(e.next-number)
}

// search looks through the dynamic table, and returns an index of the name where
// the field is not there.
func (e *encoder) search(f *hpack.HeaderField) (number uint, name uint64, found bool) {
	name = staticNames[f.Name]
	for age := uint(1); age <= e.n; age++ {
		known := e.entry(e.next - age)
		if known.Name != f.Name {
			continue
		}
		if known.Value == f.Value {
			return e.next - age, 0, true
		}
		if name == 0 {
			name = e.indexOf(e.next - age)
		}
	}
	return 0, name, false
}

// staticIndex returns the index of f in the static table, or 0.
func staticIndex(f *hpack.HeaderField) uint64 {
	i := staticNames[f.Name]
	if i == 0 {
		return 0
	}
	for ; i <= uint64(len(staticTable)) && staticTable[i-1].Name == f.Name; i++ {
		if staticTable[i-1].Value == f.Value {
			return i
		}
	}
	return 0
}

func same(a, b *hpack.HeaderField) bool { return a.Name == b.Name && a.Value == b.Value }
