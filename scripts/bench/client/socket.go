package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	messageSize = 100 // bytes; a frame with a length of one byte
	binary      = 0x82
	masked      = 0x80
)

// socket sends WebSocket messages at a pace on each connection, and counts those
// that come back.
func (r *run) socket() error {
	get := request(r.options, "GET", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	sockets := open(r, func() (*conn, error) {
		c, err := dial(r.url.addr, r.config)
		if err != nil {
			return nil, err
		}
		if err := c.upgrade(get); err != nil {
			return nil, err
		}
		return c, c.message()
	})
	r.hold()
	period := time.Second / time.Duration(r.options.rate)
	each(sockets, func(i int, c *conn) {
		defer c.close()
		<-time.After(period * time.Duration(i) / time.Duration(len(sockets))) // not all at once
		tick := time.NewTicker(period)
		defer tick.Stop()
		for n := 0; r.more(n); n++ {
			<-tick.C
			t := time.Now()
			if err := c.message(); err != nil {
				r.fail(err)
				return
			}
			r.count(t, nil)
		}
	})
	return nil
}

func (c *conn) upgrade(get []byte) error {
	if _, err := c.tls.Write(get); err != nil {
		return err
	}
	if err := c.head(); err != nil {
		return err
	}
	if c.answer.status != 101 {
		return fmt.Errorf("status %d", c.answer.status)
	}
	return nil
}

// message sends one and waits until it is back.
func (c *conn) message() error {
	c.tls.SetDeadline(time.Now().Add(patience))
	frame := append([]byte{binary, masked | messageSize, 1, 2, 3, 4}, bytes.Repeat([]byte("m"), messageSize)...)
	if _, err := c.tls.Write(frame); err != nil {
		return err
	}
	back := make([]byte, 2+messageSize)
	if _, err := io.ReadFull(c.r, back); err != nil {
		return err
	}
	for i, b := range back[2:] {
		if b != 'm'^frame[2+i%4] {
			return errors.New("another message came back")
		}
	}
	return nil
}
