package audit

import (
	"math/rand/v2"
	"testing"
)

// At every instant of writing a slot one of the others is whole, names a record
// that is there, and the state is not taken for damage.
func TestHeadIsWholeAtEveryInstant(t *testing.T) {
	k := newKeyed([]byte("key"))
	h := head{data: make([]byte, headSize), key: k}
	last := tip{}
	for i := range slots {
		last.encode(h.data[i*slotSpace:], k)
	}
	for seq := uint64(1); seq < 200; seq++ {
		now := last
		now.seq, now.hash = seq, Digest{byte(seq)}
		before := append([]byte(nil), h.data...)
		h.put(&now)
		half := append([]byte(nil), before...)
		cut := rand.IntN(headSize)
		copy(half[:cut], h.data[:cut])
		s, ok := parseHead(half, k)
		if !ok || s.seq != seq && s.seq != seq-1 || s.damaged(s.seq == seq-1) {
			t.Fatalf("torn at byte %d of the write for record %d: %v %+v", cut, seq, ok, s)
		}
		if seq%7 == 0 {
			before = append([]byte(nil), h.data...)
			h.rest(&now)
			copy(half, before)
			copy(half[:cut], h.data[:cut])
			if s, ok := parseHead(half, k); !ok || s.seq != seq || s.damaged(false) {
				t.Fatalf("torn at byte %d while coming to rest: %v %+v", cut, ok, s)
			}
		}
		last = now
	}
	if s, ok := parseHead(h.data, newKeyed([]byte("another"))); ok {
		t.Errorf("another key's head is taken: %+v", s)
	}
}

func TestHeadDoesNotAllocate(t *testing.T) {
	h := head{data: make([]byte, headSize), key: newKeyed([]byte("key"))}
	var now tip
	h.put(&now)
	if n := testing.AllocsPerRun(100, func() { h.put(&now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
