package h2

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// began is what is counted from where no wall clock may be: that may be set.
var began = time.Now()

// reader is the side of a Conn that its Serve goroutine alone touches.
type reader struct {
	c       *Conn
	batch   Batch
	event   Event
	section section
	preface bool // it came, or none is to come
	wait    [512]byte

	// The field section in the making (RFC 9113 section 4.3).
	dec       *decoder
	fields    []hpack.HeaderField
	listSize  int
	block     []byte
	open      bool // CONTINUATION must follow
	blockID   uint32
	blockEnd  bool
	selfish   bool // it depends on itself
	fragments int

	partialSince atomic.Int64 // since when something is half read, nanoseconds since began; 0: nothing is
}

func (r *reader) init(c *Conn) {
	r.c = c
	r.preface = !c.server
	r.dec = newDecoder(r.emit)
}

// run reads until the connection ends. It waits with a few bytes of its own, which
// most of what comes fits into; a buffer is held only while something is half read.
func (r *reader) run() error {
	r.partialSince.Store(int64(time.Since(began))) // the peer owes us its SETTINGS
	var buf *[readSize]byte
	n := 0
	for {
		p := r.wait[:]
		if buf != nil {
			p = buf[:]
		}
		m, err := r.c.net.Read(p[n:])
		if n += m; m == 0 && err != nil {
			if err = r.ended(err); err != nil {
				return err
			}
			continue
		}
		used, err := r.take(p[:n])
		if used < n && buf == nil {
			buf = readBuffers.Get().(*[readSize]byte)
		}
		if buf != nil {
			n = copy(buf[:], p[used:n])
		} else {
			n = 0
		}
		r.watch(n, used)
		r.batch.Flush()
		if err != nil {
			return err
		}
		if n == 0 {
			if buf != nil {
				readBuffers.Put(buf)
				buf = nil
			}
			r.rest()
		}
	}
}

// rest frees what is only of use while something is under way.
func (r *reader) rest() {
	if r.c.quiet() {
		r.dec.rest()
	}
}

// quiet reports whether nothing is under way.
func (c *Conn) quiet() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.streams) == 0
}

// ended turns the error of a Read into the connection's; nil if reading goes on,
// since a stream came just when the connection was to end for being idle.
func (r *reader) ended(err error) error {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.Is(c.err, ErrIdle) && len(c.streams) > 0:
		c.err = nil
		return c.net.SetReadDeadline(time.Time{})
	case c.err != nil:
		return c.err
	case errors.Is(err, io.EOF) && len(c.streams) == 0:
		c.err = errGone // at once: a stream that is opened from here on must not leave
		return errGone
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return err
}

// watch notes since when something is half read: n bytes are left, used were
// taken.
func (r *reader) watch(n, used int) {
	switch since := r.partialSince.Load(); {
	case n == 0 && !r.open && r.c.settled:
		if since != 0 {
			r.partialSince.Store(0)
		}
	case since == 0 || used > 0 && !r.open:
		r.partialSince.Store(int64(time.Since(began)))
	}
}

// take deals with every whole frame at the beginning of p and returns how much
// that was.
func (r *reader) take(p []byte) (used int, err error) {
	if !r.preface {
		if len(p) < len(http2.ClientPreface) {
			if !strings.HasPrefix(http2.ClientPreface, string(p)) {
				return 0, protocol("no preface")
			}
			return 0, nil
		}
		used = len(http2.ClientPreface)
		if string(p[:used]) != http2.ClientPreface {
			return 0, protocol("no preface")
		}
		r.preface = true
	}
	for len(p)-used >= headerLen {
		h := readHeader(p[used:])
		if h.length > maxFrame {
			return used, frameSize("a frame larger than we allow")
		}
		next := used + headerLen + h.length
		if next > len(p) {
			break
		}
		if err := r.frame(&h, p[used+headerLen:next]); err != nil {
			return next, err
		}
		used = next
	}
	return used, nil
}

// frame deals with one frame. Its error is the connection's.
func (r *reader) frame(h *frameHeader, p []byte) error {
	if r.open && (h.kind != http2.FrameContinuation || h.id != r.blockID) {
		return protocol("another frame within a field section")
	}
	if !r.c.settled && (h.kind != http2.FrameSettings || h.flags.Has(http2.FlagSettingsAck)) {
		return protocol("the first frame is not SETTINGS")
	}
	switch h.kind {
	case http2.FrameData:
		return r.data(h, p)
	case http2.FrameHeaders:
		return r.headers(h, p)
	case http2.FrameContinuation:
		return r.continuation(h, p)
	case http2.FrameRSTStream:
		return r.resetStream(h, p)
	case http2.FrameWindowUpdate:
		return r.windowUpdate(h, p)
	case http2.FramePushPromise:
		return protocol("PUSH_PROMISE, which we do not allow")
	case http2.FramePriority:
		return r.priority(h, p)
	}
	return r.control(h, p)
}

// idle reports whether nobody has opened the stream yet. mu is held.
func (c *Conn) idle(id uint32) bool {
	if id%2 == 1 == c.server {
		return id > c.lastPeer && c.drain != drainLast // behind GOAWAY, late ones are dropped
	}
	return c.server || id >= c.nextOurs // a server opens none: even ids are never used
}

// fail ends one stream, s if it is still open, with an error. mu is not held.
func (r *reader) fail(id uint32, s *Stream, code http2.ErrCode, detail string) error {
	c := r.c
	c.mu.Lock()
	if s == nil || s.gone {
		c.out = appendReset(c.out, id, code)
		c.forgive(id)
		s = nil
	} else {
		s.reset(code)
	}
	err := errors.Join(c.aborted(), c.owe())
	c.mu.Unlock()
	r.batch.note(c)
	if s != nil {
		r.tell(s, Event{Kind: Closed, Err: &StreamError{Code: code, Detail: detail}})
	}
	return err
}

// tell hands e to the handler of s.
func (r *reader) tell(s *Stream, e Event) {
	e.Batch = &r.batch
	r.event = e
	s.tell(&r.batch, &r.event)
	r.event = Event{}
}
