package h2

import (
	"errors"
	"net"
	"time"

	"golang.org/x/net/http2"
)

// errGone is the end in good order.
var errGone = errors.New("the connection has ended")

var longAgo = time.Unix(1, 0)

// end says goodbye, closes, and tells the streams.
func (c *Conn) end(err error) error {
	c.stopTimer()
	c.mu.Lock()
	if c.err == nil {
		c.err = err // before the goodbye, which takes a moment: who opens a stream meanwhile is told
	}
	c.mu.Unlock()
	c.goodbye(err)
	_ = c.net.Close()
	c.mu.Lock()
	for c.writing {
		c.written.Wait()
	}
	err = c.err
	streams := c.streams
	c.streams = nil
	c.dead, c.out, c.notes = true, nil, nil
	for _, s := range streams {
		s.kill()
	}
	c.count()
	c.mu.Unlock()
	c.bury(streams, err)
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

// bury tells the handlers of streams that the connection has ended.
func (c *Conn) bury(streams map[uint32]*Stream, err error) {
	var b Batch
	if errors.Is(err, errGone) {
		err = ErrLeaving
	}
	for _, s := range streams {
		s.tell(&b, &Event{Kind: Closed, Err: err, Batch: &b})
	}
	b.Flush()
}

// Close ends the connection at once; Serve returns.
func (c *Conn) Close() { c.abort(net.ErrClosed) }

// abort ends the connection from another goroutine than the reader's.
func (c *Conn) abort(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.dead = true
	c.mu.Unlock()
	_ = c.net.Close()
}

// leave makes the reader return, so that Serve says goodbye with err. mu is held.
func (c *Conn) leave(err error) {
	if c.err == nil {
		c.err = err
	}
	_ = c.net.SetReadDeadline(longAgo)
}

// rest is called when the last stream has ended. mu is held.
func (c *Conn) rest() {
	c.active = time.Now()
	if c.leaving && (!c.server || c.drain == drainLast) {
		c.leave(errGone)
	}
}

// goodbye sends what is still in the buffer, and GOAWAY if the end is ours, and
// gives the peer a moment to read it: to close while input is unread would
// destroy it on the way.
func (c *Conn) goodbye(err error) {
	code, ours := goAwayCode(err)
	c.mu.Lock()
	if c.dead || !ours {
		c.dead = true
		c.mu.Unlock()
		return
	}
	c.dead = true
	c.out = appendGoAway(c.out, c.lastPeer, code)
	c.mu.Unlock()
	_ = c.net.SetWriteDeadline(time.Now().Add(closeTime))
	c.flush()
	c.mu.Lock()
	for c.writing {
		c.written.Wait()
	}
	c.mu.Unlock()
	c.linger()
}

func goAwayCode(err error) (code http2.ErrCode, ours bool) {
	var e *ConnError
	if errors.As(err, &e) {
		return e.Code, !e.Remote
	}
	return http2.ErrCodeNo, errors.Is(err, ErrIdle) || errors.Is(err, errGone)
}

// linger reads until the peer has closed, within bounds.
func (c *Conn) linger() {
	if half, ok := c.net.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = c.net.SetReadDeadline(time.Now().Add(lingerTime))
	buf := readBuffers.Get().(*[readSize]byte)
	defer readBuffers.Put(buf)
	for range 64 {
		if _, err := c.net.Read(buf[:]); err != nil {
			return
		}
	}
}

// Shutdown ends the connection in good order: no new streams, those that are
// open go on (RFC 9113 section 6.8). Serve returns when the last has ended.
func (c *Conn) Shutdown() {
	c.mu.Lock()
	defer c.flush()
	defer c.mu.Unlock()
	if c.dead || c.drain != drainNot {
		return
	}
	c.drain = drainSaid
	if c.server {
		c.out = appendGoAway(c.out, largestID, http2.ErrCodeNo)
		c.out = appendPing(c.out, 0, drainPing)
		time.AfterFunc(unanswered, c.insist)
		return
	}
	c.out = appendGoAway(c.out, 0, http2.ErrCodeNo)
	c.drain, c.leaving = drainLast, true
	c.count()
	if len(c.streams) == 0 {
		c.rest()
	}
}

var drainPing = []byte("drain h2")

// unanswered is how long the PING behind the first GOAWAY may be: who does not answer
// it must not keep the right to new streams by that.
const unanswered = 5 * time.Second

func (c *Conn) insist() {
	c.mu.Lock()
	defer c.flush()
	defer c.mu.Unlock()
	if !c.dead && c.drain == drainSaid {
		c.lastWord()
	}
}
