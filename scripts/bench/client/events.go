package main

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// events listens to a stream on each connection, and counts the events and how
// long each was on its way: an event begins with the time when it was sent.
func (r *run) events() error {
	get := request(r.options, "GET", "Cache-Control: no-cache")
	streams := open(r, func() (*conn, error) {
		c, err := dial(r.url.addr, r.config)
		if err != nil {
			return nil, err
		}
		if err := c.listen(get); err != nil {
			return nil, err
		}
		_, err = c.event()
		return c, err
	})
	r.hold()
	each(streams, func(_ int, c *conn) {
		defer c.close()
		for n := 0; r.more(n); {
			sent, err := c.event()
			if err != nil {
				r.fail(err)
				return
			}
			if sent.After(r.start) {
				r.count(sent, nil)
				n++
			}
		}
	})
	return nil
}

// listen asks for a stream.
func (c *conn) listen(get []byte) error {
	if _, err := c.tls.Write(get); err != nil {
		return err
	}
	if err := c.head(); err != nil {
		return err
	}
	if c.answer.status != 200 || c.answer.length >= 0 {
		return fmt.Errorf("status %d, %d bytes, where a stream was due", c.answer.status, c.answer.length)
	}
	return nil
}

// event reads up to the next event's line, whatever chunks it came in, and
// returns when it was sent.
func (c *conn) event() (time.Time, error) {
	c.tls.SetReadDeadline(time.Now().Add(patience))
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return time.Time{}, err
		}
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			sent, _, _ := bytes.Cut(data, []byte(" "))
			nanos, err := strconv.ParseInt(string(sent), 10, 64)
			return time.Unix(0, nanos), err
		}
	}
}
