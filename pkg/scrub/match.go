package scrub

// thread is a place in a form that text has led to.
type thread struct {
	node     int32
	edge, at int16 // edge -1: at the node itself
}

// match follows text from its beginning through the form. n is the length of the
// longest match, 0 if there is none; live says that with more text there may be
// another, longer one. Several paths may fit for a while, as `\\` may be one
// character or two; all are followed at once.
func (f *form) match(text []byte) (n int, live bool) {
	var space [2][48]thread
	now, next := f.enter(space[0][:0], 0), space[1][:0]
	for i, c := range text {
		next = next[:0]
		for _, t := range now {
			if e := &f.nodes[t.node][t.edge]; e.has(int(t.at), c) {
				next = f.step(next, t, e)
			}
		}
		if next, n = f.arrive(next, n, i+1); len(next) == 0 {
			return n, false
		}
		now, next = next, now
	}
	return n, true
}

// step goes one byte on. A thread at the end of its edge stands there until arrive.
func (f *form) step(threads []thread, t thread, e *edge) []thread {
	if t.at++; int(t.at) < len(e.text) {
		return append(threads, t)
	}
	there := thread{node: int32(e.to), edge: -1}
	for _, other := range threads {
		if other == there {
			return threads
		}
	}
	return append(threads, there)
}

// arrive lets the threads that have reached a node go on from there.
func (f *form) arrive(threads []thread, n, here int) ([]thread, int) {
	for i := 0; i < len(threads); {
		t := threads[i]
		if t.edge >= 0 {
			i++
			continue
		}
		threads[i] = threads[len(threads)-1]
		threads = f.enter(threads[:len(threads)-1], t.node)
		if int(t.node) >= f.accept {
			n = here
		}
	}
	return threads, n
}

func (f *form) enter(threads []thread, node int32) []thread {
	for i := range f.nodes[node] {
		threads = append(threads, thread{node: node, edge: int16(i)})
	}
	return threads
}
