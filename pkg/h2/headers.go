package h2

import (
	"encoding/binary"
	"net/http"
	"strconv"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// headers takes a HEADERS frame (RFC 9113 section 6.2).
func (r *reader) headers(h *frameHeader, p []byte) error {
	if h.id == 0 || r.c.server && h.id%2 == 0 {
		return protocol("HEADERS on a stream that the peer cannot open")
	}
	p, ok := unpad(h.flags, p)
	if !ok {
		return protocol("HEADERS with more padding than payload")
	}
	r.selfish = false
	if h.flags.Has(http2.FlagHeadersPriority) {
		if len(p) < 5 {
			return frameSize("HEADERS too short for its priority")
		}
		r.selfish = binary.BigEndian.Uint32(p)&largestID == h.id
		p = p[5:]
	}
	r.blockID, r.blockEnd, r.fragments = h.id, h.flags.Has(http2.FlagHeadersEndStream), 1
	if h.flags.Has(http2.FlagHeadersEndHeaders) {
		return r.fieldSection(p)
	}
	r.open = true
	r.block = append(r.block[:0], p...)
	return nil
}

// continuation takes a CONTINUATION frame (RFC 9113 section 6.10). Their number
// and sum are bounded before anything is decoded (CVE-2023-45288 and its kind).
func (r *reader) continuation(h *frameHeader, p []byte) error {
	if !r.open {
		return protocol("CONTINUATION without HEADERS")
	}
	if r.fragments++; r.fragments > maxFragments || len(r.block)+len(p) > 2*r.c.o.HeaderBytes {
		return calm("a field section in too many or too large pieces")
	}
	r.block = append(r.block, p...)
	if !h.flags.Has(http2.FlagContinuationEndHeaders) {
		return nil
	}
	r.open = false
	err := r.fieldSection(r.block)
	r.block = nil
	return err
}

// emit takes one field from the decoder. What is over the limit is still
// decoded, for the table's sake, but not kept.
func (r *reader) emit(f hpack.HeaderField) {
	r.listSize += int(f.Size())
	if r.tooLarge() {
		return
	}
	r.fields = append(r.fields, f)
}

func (r *reader) tooLarge() bool {
	return r.listSize > r.c.o.HeaderBytes || len(r.fields) >= maxFields
}

// fieldSection decodes a whole field section and hands it to its stream.
func (r *reader) fieldSection(block []byte) error {
	clear(r.fields)
	r.fields, r.listSize = r.fields[:0], 0
	if err := r.dec.decode(block); err != nil {
		return &ConnError{Code: http2.ErrCodeCompression, Detail: err.Error()}
	}
	c, id := r.c, r.blockID
	c.mu.Lock()
	s := c.streams[id]
	idle := s == nil && c.idle(id)
	forgiven := s == nil && !idle && c.forgiven(id)
	last := c.lastPeer
	c.mu.Unlock()
	switch {
	case r.selfish:
		return r.selfDependent(id, s)
	case s != nil:
		return r.onOpen(s)
	case c.server && (idle || id > last):
		return r.request()
	case idle:
		return protocol("HEADERS on a stream that we did not open")
	case forgiven || !c.server:
		return r.late()
	}
	return &ConnError{Code: http2.ErrCodeStreamClosed, Detail: "HEADERS on a stream that has ended"}
}

// selfDependent answers a stream that depends on itself (RFC 7540 section 5.3.1).
func (r *reader) selfDependent(id uint32, s *Stream) error {
	c := r.c
	c.mu.Lock()
	if c.server {
		c.lastPeer = max(c.lastPeer, id)
	}
	c.mu.Unlock()
	return r.fail(id, s, http2.ErrCodeProtocol, "a stream that depends on itself")
}

// onOpen takes a field section for a stream that is there.
func (r *reader) onOpen(s *Stream) error {
	switch {
	case r.pastEnd(s):
		return r.fail(s.id, s, http2.ErrCodeStreamClosed, "HEADERS behind the end of the stream")
	case s.headDone:
		return r.trailers(s)
	}
	return r.response(s)
}

func (r *reader) pastEnd(s *Stream) bool {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	return s.recvEnd
}

func (r *reader) trailers(s *Stream) error {
	flaw := r.section.checkTrailers(r.fields)
	switch {
	case !r.blockEnd:
		flaw = "a second head"
	case r.tooLarge():
		flaw = "trailers too large"
	case flaw == "":
		_, flaw = s.measure(0, true)
	}
	if flaw != "" {
		return r.fail(s.id, s, http2.ErrCodeProtocol, flaw)
	}
	r.tell(s, Event{Kind: Trailers, Fields: r.fields, End: true})
	return r.endOf(s, true)
}

// response takes the head of a response, or of an interim one.
func (r *reader) response(s *Stream) error {
	r.section = section{}
	flaw := r.section.checkResponse(r.fields, r.blockEnd)
	status := r.section.status
	if r.tooLarge() {
		flaw = "a head larger than we allow"
	}
	if flaw == "" && status >= http.StatusOK {
		s.headDone, s.length = true, r.section.Length
		s.noBody = s.noBody || status == http.StatusNoContent || status == http.StatusNotModified
		if r.blockEnd {
			_, flaw = s.measure(0, true)
		}
	}
	if flaw != "" {
		return r.fail(s.id, s, http2.ErrCodeProtocol, flaw)
	}
	if status < http.StatusOK {
		if s.interim++; s.interim > maxInterim {
			return nil // nobody waits for it, and no window bounds it
		}
	}
	r.tell(s, Event{Kind: Head, Status: status, Fields: r.fields, End: r.blockEnd})
	return r.endOf(s, r.blockEnd)
}

// request takes the head of a request on a stream of its own.
func (r *reader) request() error {
	c, id := r.c, r.blockID
	r.section = section{}
	bad := r.section.checkRequest(r.fields, r.blockEnd)
	if r.tooLarge() {
		bad = &RequestError{Status: http.StatusRequestHeaderFieldsTooLarge, Detail: "a head larger than we allow"}
	}
	c.mu.Lock()
	late := c.drain == drainLast
	if !late {
		c.lastPeer = id
	}
	full := len(c.streams) >= c.o.Streams
	c.flood.useful(0)
	c.mu.Unlock()
	switch {
	case late:
		return nil // GOAWAY has told the peer that it is not processed
	case full:
		return r.fail(id, nil, http2.ErrCodeRefusedStream, "")
	case bad != nil:
		return r.refuse(id, bad)
	}
	h := c.accept()
	if h == nil {
		return r.fail(id, nil, http2.ErrCodeRefusedStream, "")
	}
	s := r.enter(id, h)
	r.tell(s, Event{Kind: Head, Request: &r.section.Request, Fields: r.fields, End: r.blockEnd})
	return r.endOf(s, r.blockEnd)
}

func (r *reader) enter(id uint32, h Handler) *Stream {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.newStream(id, h)
	s.headDone, s.length = true, r.section.Length
	return s
}

// refuse answers a request that no handler sees. What else comes of it is read
// and dropped.
func (r *reader) refuse(id uint32, bad *RequestError) error {
	s := r.enter(id, nil)
	if told := r.c.o.Refused; told != nil {
		told(&r.batch, s, &r.section.Request, bad)
	} else if bad.Status != 0 {
		_ = s.WriteHead(&r.batch, []hpack.HeaderField{{Name: ":status", Value: strconv.Itoa(bad.Status)}}, true)
	}
	if bad.Status == 0 {
		return r.fail(id, s, http2.ErrCodeProtocol, bad.Detail)
	}
	if err := r.endOf(s, r.blockEnd); err != nil || r.blockEnd {
		return err
	}
	s.Reset(&r.batch, http2.ErrCodeNo)
	return nil
}
