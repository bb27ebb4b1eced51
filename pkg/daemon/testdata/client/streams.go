package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// conversation is one HTTP/2 connection, frame by frame: a library would send a
// stream again that a GOAWAY has cut off, and tell nobody.
type conversation struct {
	*http2.Framer
	way   *way
	head  bytes.Buffer
	coder *hpack.Encoder
	name  string
	next  uint32            // the stream to open
	open  map[uint32]string // streams that have not ended, and their paths
	left  bool              // GOAWAY has come
}

// streams opens one stream that takes its time, and others beside it one after the
// other, until it is told to go; then each that was opened has to end in full.
func streams(c *tls.Conn, w *way) error {
	const plenty = 1 << 24
	v := &conversation{Framer: http2.NewFramer(c, c), way: w, name: c.ConnectionState().ServerName, next: 1, open: map[uint32]string{}}
	v.coder = hpack.NewEncoder(&v.head)
	_, err := io.WriteString(c, http2.ClientPreface)
	err = errors.Join(err, v.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: plenty}), v.WriteWindowUpdate(0, plenty), v.begin("/slow"))
	for err == nil {
		for err == nil && !v.left && len(v.open) < 2 {
			err = v.begin("/")
		}
		if err == nil {
			err = v.listen()
		}
	}
	if errors.Is(err, io.EOF) && v.left && len(v.open) == 0 {
		return nil
	}
	return err
}

func (v *conversation) begin(path string) error {
	v.head.Reset()
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", v.name}, {":path", path}} {
		if err := v.coder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return err
		}
	}
	id := v.next
	v.next += 2
	v.open[id] = path
	return v.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: v.head.Bytes(), EndHeaders: true, EndStream: true})
}

// listen takes one frame.
func (v *conversation) listen() error {
	f, err := v.ReadFrame()
	if err != nil {
		return fmt.Errorf("told to go: %v, open: %v: %w", v.left, v.open, err)
	}
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return v.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return v.WritePing(true, f.Data)
		}
	case *http2.GoAwayFrame:
		return v.leave(f)
	case *http2.RSTStreamFrame:
		return fmt.Errorf("stream %d, %s: reset: %v", f.StreamID, v.open[f.StreamID], f.ErrCode)
	case *http2.DataFrame:
		return v.took(f.StreamID, len(f.Data()), f.StreamEnded())
	case *http2.HeadersFrame:
		return v.took(f.StreamID, 0, f.StreamEnded())
	}
	return nil
}

// leave fails where a stream is cut off, by a GOAWAY that a client which opens one
// after the other could not have foreseen.
func (v *conversation) leave(f *http2.GoAwayFrame) error {
	v.left = true
	for id, path := range v.open {
		if id > f.LastStreamID {
			return fmt.Errorf("stream %d, %s: not served", id, path)
		}
	}
	if f.ErrCode != http2.ErrCodeNo {
		return fmt.Errorf("GOAWAY: %v", f.ErrCode)
	}
	return nil
}

func (v *conversation) took(id uint32, n int, end bool) error {
	if n > 0 {
		if err := v.WriteWindowUpdate(0, uint32(n)); err != nil {
			return err
		}
	}
	if !end {
		return nil
	}
	if id == 3 { // the first of those that end at once
		v.way.opened()
	}
	v.way.answered()
	delete(v.open, id)
	return nil
}
