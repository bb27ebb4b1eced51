package h2

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/net/http2"
)

// control takes the frames of the whole connection, and those of kinds that
// nobody knows (RFC 9113 section 5.5), which are dropped.
func (r *reader) control(h *frameHeader, p []byte) error {
	switch h.kind {
	case http2.FrameSettings, http2.FramePing, http2.FrameGoAway:
		if h.id != 0 {
			return protocol(h.kind.String() + " on a stream")
		}
	}
	if err := r.noisy(); err != nil {
		return err
	}
	switch h.kind {
	case http2.FrameSettings:
		return r.settings(h, p)
	case http2.FramePing:
		return r.ping(h, p)
	case http2.FrameGoAway:
		return r.goAway(p)
	}
	return nil
}

// settings takes a SETTINGS frame and confirms it (RFC 9113 section 6.5).
func (r *reader) settings(h *frameHeader, p []byte) error {
	if h.flags.Has(http2.FlagSettingsAck) {
		if len(p) != 0 {
			return frameSize("a confirmation of SETTINGS with payload")
		}
		r.c.confirm()
		return nil
	}
	if len(p)%6 != 0 {
		return frameSize("SETTINGS is no multiple of 6 bytes")
	}
	c := r.c
	c.mu.Lock()
	c.settled = true
	err := c.apply(p)
	c.reserve(smallFrames)
	c.out = appendHeader(c.out, 0, http2.FrameSettings, http2.FlagSettingsAck, 0)
	if err == nil {
		err = c.owe()
	}
	c.count()
	c.pump()
	notes := c.takeNotes()
	c.mu.Unlock()
	r.batch.note(c)
	deliver(&r.batch, notes)
	return err
}

// confirm counts windows that are smaller than the default from here on; those of
// streams that are open may fall below zero (RFC 9113 section 6.9.2).
func (c *Conn) confirm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.confirmed {
		return
	}
	c.confirmed = true
	if less := initialWindow - c.o.StreamWindow; less > 0 {
		for _, s := range c.streams {
			s.given -= less
		}
	}
}

// apply applies the settings of one frame in order. Those that move the windows of all
// streams may stand there thousands of times, and nothing happens between two of them,
// so that the last says it all. mu is held.
func (c *Conn) apply(p []byte) error {
	windows := c.peerWindow
	for ; len(p) > 0; p = p[6:] {
		id, v := http2.SettingID(binary.BigEndian.Uint16(p)), binary.BigEndian.Uint32(p[2:])
		switch {
		case id != http2.SettingInitialWindowSize:
			if err := c.setting(id, v); err != nil {
				return err
			}
		case v > maxWindow:
			return errLargeWindow
		default:
			windows = int(v)
		}
	}
	return c.initialWindows(windows)
}

// setting applies one setting of the peer's. mu is held.
func (c *Conn) setting(id http2.SettingID, v uint32) error {
	switch id {
	case http2.SettingHeaderTableSize:
		c.enc.resize(v)
	case http2.SettingEnablePush:
		if v > 1 || v == 1 && !c.server {
			return protocol("ENABLE_PUSH out of range")
		}
	case http2.SettingMaxConcurrentStreams:
		c.peerStreams = int(min(v, largestID))
	case http2.SettingMaxFrameSize:
		if v < maxFrame || v > 1<<24-1 {
			return protocol("MAX_FRAME_SIZE out of range")
		}
	}
	return nil
}

// initialWindows moves the windows of the open streams along, also below zero
// (RFC 9113 section 6.9.2).
func (c *Conn) initialWindows(size int) error {
	delta := size - c.peerWindow
	if delta == 0 {
		return nil
	}
	c.peerWindow = size
	for _, s := range c.streams {
		s.window += delta
		if s.window > maxWindow {
			return errLargeWindow
		}
		s.wait()
	}
	return nil
}

// ping answers PING (RFC 9113 section 6.7).
func (r *reader) ping(h *frameHeader, p []byte) error {
	if len(p) != 8 {
		return frameSize("PING is not 8 bytes")
	}
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	r.batch.note(c)
	if h.flags.Has(http2.FlagPingAck) {
		if c.drain == drainSaid && bytes.Equal(p, drainPing) {
			c.lastWord()
		}
		return nil
	}
	c.out = appendPing(c.out, http2.FlagPingAck, p)
	return c.owe()
}

// lastWord follows when the peer has seen the first GOAWAY: every stream it
// opened before is known. mu is held.
func (c *Conn) lastWord() {
	c.drain, c.leaving = drainLast, true
	c.out = appendGoAway(c.out, c.lastPeer, http2.ErrCodeNo)
	if len(c.streams) == 0 {
		c.rest()
	}
}

// goAway takes GOAWAY (RFC 9113 section 6.8). Streams that the peer will not
// look at end at once; the others go on.
func (r *reader) goAway(p []byte) error {
	if len(p) < 8 {
		return frameSize("GOAWAY is shorter than 8 bytes")
	}
	last := binary.BigEndian.Uint32(p) & largestID
	code := http2.ErrCode(binary.BigEndian.Uint32(p[4:]))
	c := r.c
	c.mu.Lock()
	lost := c.lose(last)
	c.count()
	c.mu.Unlock()
	r.batch.note(c) // as for resetStream
	for _, s := range lost {
		r.tell(s, Event{Kind: Closed, Err: ErrLeaving})
	}
	if code != http2.ErrCodeNo {
		return &ConnError{Code: code, Remote: true}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.streams) == 0 {
		c.rest()
	}
	return nil
}

// lose removes the streams that the peer has not processed. mu is held.
func (c *Conn) lose(last uint32) (lost []*Stream) {
	if c.server {
		return nil // we open none; the peer will close when its own have ended
	}
	c.leaving = true
	for id, s := range c.streams {
		if id > last {
			lost = append(lost, s)
		}
	}
	for _, s := range lost {
		s.remove()
	}
	return lost
}

// resetStream takes RST_STREAM (RFC 9113 section 6.4).
func (r *reader) resetStream(h *frameHeader, p []byte) error {
	if len(p) != 4 {
		return frameSize("RST_STREAM is not 4 bytes")
	}
	c := r.c
	c.mu.Lock()
	s := c.streams[h.id]
	if s == nil {
		idle, err := h.id == 0 || c.idle(h.id), c.noisy()
		c.mu.Unlock()
		if idle {
			return protocol("RST_STREAM on a stream that was never opened")
		}
		return err
	}
	s.remove()
	err := c.aborted()
	c.mu.Unlock()
	r.batch.note(c) // it may have opened the connection's window
	code := http2.ErrCode(binary.BigEndian.Uint32(p))
	r.tell(s, Event{Kind: Closed, Err: &StreamError{Code: code, Remote: true}})
	return err
}

// priority checks PRIORITY, which has no further effect (RFC 9113 section 6.3).
func (r *reader) priority(h *frameHeader, p []byte) error {
	if h.id == 0 {
		return protocol("PRIORITY on stream 0")
	}
	c := r.c
	c.mu.Lock()
	s := c.streams[h.id]
	err := c.noisy()
	c.mu.Unlock()
	switch {
	case err != nil:
		return err
	case len(p) != 5:
		return r.fail(h.id, s, http2.ErrCodeFrameSize, "PRIORITY is not 5 bytes")
	case binary.BigEndian.Uint32(p)&largestID == h.id:
		return r.fail(h.id, s, http2.ErrCodeProtocol, "a stream that depends on itself")
	}
	return nil
}
