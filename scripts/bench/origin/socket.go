package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// greeting is RFC 6455's GUID.
const greeting = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// socket echoes small WebSocket messages until the other side leaves.
func socket(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		http.Error(w, "no WebSocket", http.StatusBadRequest)
		return
	}
	c, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer c.Close()
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + greeting))
	_, err = fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
	for err == nil {
		err = echo(c, buffered.Reader)
	}
}

// echo answers one frame of less than 126 bytes, which is masked as every
// client's.
func echo(w io.Writer, r *bufio.Reader) error {
	var head [6]byte // opcode, length, mask
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	frame := make([]byte, 2+int(head[1]&0x7f))
	frame[0], frame[1] = head[0], head[1]&0x7f
	if _, err := io.ReadFull(r, frame[2:]); err != nil {
		return err
	}
	for i := range frame[2:] {
		frame[2+i] ^= head[2+i%4]
	}
	_, err := w.Write(frame)
	return err
}
