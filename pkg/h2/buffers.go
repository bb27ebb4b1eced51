package h2

import "sync"

// Memory is pooled by its size. What is held while nothing moves is little: a
// connection that waits has no buffer in either direction.
var (
	readBuffers = sync.Pool{New: func() any { return new([readSize]byte) }}
	outBuffers  = sync.Pool{New: func() any { return new([outSize]byte) }}
	bulkBuffers = sync.Pool{New: func() any { return new([bulkSize]byte) }}
	pieces      = sync.Pool{New: func() any { return new(piece) }}
)

// reserve makes sure that n more bytes fit into the output, in pooled memory if
// they are not too many for that. mu is held.
func (c *Conn) reserve(n int) {
	switch {
	case cap(c.out)-len(c.out) >= n:
	case len(c.out)+n <= outSize:
		c.out = moved(outBuffers.Get().(*[outSize]byte)[:0], c.out)
	case len(c.out)+n <= bulkSize:
		c.out = moved(bulkBuffers.Get().(*[bulkSize]byte)[:0], c.out)
	}
}

func moved(to, from []byte) []byte {
	to = append(to, from...)
	recycle(from)
	return to
}

// recycle gives an output buffer back.
func recycle(b []byte) {
	switch cap(b) {
	case outSize:
		outBuffers.Put((*[outSize]byte)(b[:outSize]))
	case bulkSize:
		bulkBuffers.Put((*[bulkSize]byte)(b[:bulkSize]))
	}
}

// piece is a part of what a stream keeps: one full frame of it.
type piece [maxFrame]byte

// pending is what a stream keeps until the peer's windows have room.
type pending struct {
	pieces []*piece
	off, n int // where it begins in the first piece, and how much it is
}

func (p *pending) len() int { return p.n }

// first is the beginning of what is kept, as far as it lies together.
func (p *pending) first() []byte {
	if p.n == 0 {
		return nil
	}
	return p.pieces[0][p.off:min(p.off+p.n, maxFrame)]
}

func (p *pending) add(b []byte) {
	for len(b) > 0 {
		end := p.off + p.n
		if end == len(p.pieces)*maxFrame {
			p.pieces = append(p.pieces, pieces.Get().(*piece))
		}
		n := copy(p.pieces[end/maxFrame][end%maxFrame:], b)
		p.n += n
		b = b[n:]
	}
}

// take drops n bytes of what first returned; there may be none any more, if they
// were the last of a stream that is gone.
func (p *pending) take(n int) {
	n = min(n, p.n)
	p.off += n
	p.n -= n
	if p.n == 0 {
		p.drop()
		return
	}
	if p.off == maxFrame {
		pieces.Put(p.pieces[0])
		p.pieces = p.pieces[:copy(p.pieces, p.pieces[1:])]
		p.off = 0
	}
}

func (p *pending) drop() {
	for _, b := range p.pieces {
		pieces.Put(b)
	}
	*p = pending{}
}

// queue is the streams that could send if the connection let them, each once.
type queue struct {
	list []*Stream
	head int
}

func (q *queue) empty() bool { return q.head == len(q.list) }

func (q *queue) push(s *Stream) {
	s.queued = true
	q.list = append(q.list, s)
}

// pop returns nil when the queue is empty.
func (q *queue) pop() *Stream {
	if q.empty() {
		q.list, q.head = q.list[:0], 0
		return nil
	}
	s := q.list[q.head]
	q.list[q.head] = nil
	q.head++
	if q.head > 64 && q.head > len(q.list)/2 {
		q.list = q.list[:copy(q.list, q.list[q.head:])]
		q.head = 0
	}
	s.queued = false
	return s
}
