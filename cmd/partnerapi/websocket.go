package main

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455 section 4.2.2 prescribes it
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
)

// Frame bits and opcodes of RFC 6455 section 5.2.
const (
	finalBit = 0x80
	maskBit  = 0x80
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xa

	maxFrame = 16 << 20
)

// websocket answers the opening handshake and sends every message back, fragment
// by fragment, until the peer closes.
func websocket(w http.ResponseWriter, r *http.Request, a *account) {
	key := r.Header.Get("Sec-WebSocket-Key")
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || key == "" {
		a.OK, a.Reason = false, "not a websocket handshake"
		answer(w, http.StatusUpgradeRequired, a)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		a.OK, a.Reason = false, "websocket needs HTTP/1.1"
		answer(w, http.StatusBadRequest, a)
		return
	}
	defer conn.Close()
	_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + acceptKey(key) + "\r\n\r\n")
	for err == nil {
		if err = rw.Flush(); err == nil {
			err = echoFrame(rw)
		}
	}
	_ = rw.Flush()
}

func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
	return base64.StdEncoding.EncodeToString(sum[:])
}

var (
	errClosed   = errors.New("peer closed")
	errFrame    = errors.New("bad frame")
	errUnmasked = errors.New("client frame is not masked")
)

// echoFrame reads one frame and writes its echo.
func echoFrame(rw *bufio.ReadWriter) error {
	first, payload, err := readFrame(rw.Reader)
	if err != nil {
		return err
	}
	switch first & 0x0f {
	case opPong:
		return nil
	case opPing:
		return writeFrame(rw.Writer, finalBit|opPong, payload)
	case opClose:
		_ = writeFrame(rw.Writer, finalBit|opClose, payload)
		return errClosed
	}
	return writeFrame(rw.Writer, first, payload)
}

func readFrame(r *bufio.Reader) (first byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	if head[1]&maskBit == 0 {
		return 0, nil, errUnmasked
	}
	length, err := frameLength(r, head[1]&^maskBit)
	if err != nil || length > maxFrame {
		return 0, nil, errFrame
	}
	var mask [4]byte
	if _, err := io.ReadFull(r, mask[:]); err != nil {
		return 0, nil, err
	}
	payload = make([]byte, length)
	_, err = io.ReadFull(r, payload)
	for i := range payload {
		payload[i] ^= mask[i%len(mask)]
	}
	return head[0], payload, err
}

// frameLength reads the extended length that 126 and 127 announce.
func frameLength(r io.Reader, short byte) (uint64, error) {
	var b [8]byte
	switch short {
	case 126:
		_, err := io.ReadFull(r, b[:2])
		return uint64(binary.BigEndian.Uint16(b[:])), err
	case 127:
		_, err := io.ReadFull(r, b[:])
		return binary.BigEndian.Uint64(b[:]), err
	}
	return uint64(short), nil
}

func writeFrame(w *bufio.Writer, first byte, payload []byte) error {
	head := []byte{first}
	switch n := len(payload); {
	case n < 126:
		head = append(head, byte(n))
	case n < 1<<16:
		head = binary.BigEndian.AppendUint16(append(head, 126), uint16(n))
	default:
		head = binary.BigEndian.AppendUint64(append(head, 127), uint64(n))
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	_, err := w.Write(payload)
	return err
}
