package proxy

import (
	"io"
	"sync"

	"github.com/outwarden/outwarden/pkg/http1"
)

// Sizes of pooled buffers. A head fits into one of smallSize nearly always; a
// body is moved in pieces of bulkSize, two full TLS records.
const (
	smallSize = 8 << 10
	bulkSize  = 32 << 10
	firstSize = 512
)

// bufferPool hands out buffers of one size.
type bufferPool struct{ pool sync.Pool }

func newBufferPool(size int) *bufferPool {
	return &bufferPool{sync.Pool{New: func() any { b := make([]byte, size); return &b }}}
}

func (p *bufferPool) get() *[]byte  { return p.pool.Get().(*[]byte) }
func (p *bufferPool) put(b *[]byte) { p.pool.Put(b) }

var (
	small = newBufferPool(smallSize)
	bulk  = newBufferPool(bulkSize)
)

// window is what was read of a connection and not taken yet. It holds a buffer
// only while there is something in it that first has no room for.
type window struct {
	pooled *[]byte // nil: buf is first, ours alone, or nil
	buf    []byte
	r, w   int
	first  [firstSize]byte // most heads fit, and a connection that waits for one has nothing else
}

// bytes are what was read and not taken. They stay in place until fill or
// release, also after take.
func (b *window) bytes() []byte { return b.buf[b.r:b.w] }

func (b *window) take(n int) { b.r += n }

// fill reads once from src behind what is there, and makes room first. A head
// of http1.MaxHead always fits.
func (b *window) fill(src io.Reader) error {
	b.makeRoom()
	n, err := src.Read(b.buf[b.w:])
	b.w += n
	if n > 0 {
		return nil
	}
	return err
}

// await reads once, when nothing is there, without a buffer of the pool.
func (b *window) await(src io.Reader) error {
	b.release()
	b.buf = b.first[:]
	return b.fill(src)
}

func (b *window) makeRoom() {
	switch {
	case b.w < len(b.buf):
	case b.r > 0:
		b.w = copy(b.buf, b.bytes())
		b.r = 0
	case len(b.buf) < smallSize:
		pooled := small.get()
		b.move(*pooled)
		b.pooled = pooled
	default:
		b.move(make([]byte, max(2*len(b.buf), http1.MaxHead+len("\r\n"))))
	}
}

// move goes on in another buffer.
func (b *window) move(to []byte) {
	n := copy(to, b.bytes())
	b.release()
	b.buf, b.w = to, n
}

// append puts p behind what is there. Like fill it may move or give back the
// buffer, so nothing may alias it any more.
func (b *window) append(p []byte) {
	for len(p) > 0 {
		b.makeRoom()
		n := copy(b.buf[b.w:], p)
		b.w += n
		p = p[n:]
	}
}

// rest gives the buffer back if nothing is left in it.
func (b *window) rest() {
	if b.r == b.w {
		b.release()
	}
}

func (b *window) release() {
	if b.pooled != nil {
		small.put(b.pooled)
	}
	b.pooled, b.buf, b.r, b.w = nil, nil, 0, 0
}
