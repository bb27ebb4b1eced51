package h2

import "sync"

// bufferPool hands out buffers of one size.
type bufferPool struct{ pool sync.Pool }

func newBufferPool(size int) *bufferPool {
	return &bufferPool{sync.Pool{New: func() any { b := make([]byte, size); return &b }}}
}

func (p *bufferPool) get() *[]byte  { return p.pool.Get().(*[]byte) }
func (p *bufferPool) put(b *[]byte) { p.pool.Put(b) }

var (
	readBuffers = newBufferPool(readSize)
	outBuffers  = newBufferPool(outSize)
)

// pending is what a stream keeps until the peer's windows have room.
type pending struct {
	buf []byte
	off int
}

func (p *pending) len() int      { return len(p.buf) - p.off }
func (p *pending) bytes() []byte { return p.buf[p.off:] }

func (p *pending) add(b []byte) {
	if p.off > 0 && len(p.buf)+len(b) > cap(p.buf) {
		p.buf = p.buf[:copy(p.buf, p.bytes())]
		p.off = 0
	}
	p.buf = append(p.buf, b...)
}

func (p *pending) take(n int) {
	p.off += min(n, p.len())
	if p.off == len(p.buf) {
		p.drop()
	}
}

func (p *pending) drop() { *p = pending{} }

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
