package h2

import (
	"encoding/binary"

	"golang.org/x/net/http2"
)

const headerLen = 9 // RFC 9113 section 4.1

// frameHeader is the head of one frame.
type frameHeader struct {
	length int
	kind   http2.FrameType
	flags  http2.Flags
	id     uint32
}

// readHeader wants at least headerLen bytes.
func readHeader(b []byte) frameHeader {
	return frameHeader{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   http2.FrameType(b[3]),
		flags:  http2.Flags(b[4]),
		id:     binary.BigEndian.Uint32(b[5:]) & largestID,
	}
}

func appendHeader(dst []byte, length int, kind http2.FrameType, flags http2.Flags, id uint32) []byte {
	return append(dst, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags),
		byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

func appendReset(dst []byte, id uint32, code http2.ErrCode) []byte {
	dst = appendHeader(dst, 4, http2.FrameRSTStream, 0, id)
	return binary.BigEndian.AppendUint32(dst, uint32(code))
}

func appendWindowUpdate(dst []byte, id uint32, n int) []byte {
	dst = appendHeader(dst, 4, http2.FrameWindowUpdate, 0, id)
	return binary.BigEndian.AppendUint32(dst, uint32(n))
}

func appendPing(dst []byte, flags http2.Flags, data []byte) []byte {
	dst = appendHeader(dst, 8, http2.FramePing, flags, 0)
	return append(dst, data[:8]...)
}

func appendGoAway(dst []byte, last uint32, code http2.ErrCode) []byte {
	dst = appendHeader(dst, 8, http2.FrameGoAway, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, last)
	return binary.BigEndian.AppendUint32(dst, uint32(code))
}

func appendSettings(dst []byte, settings ...http2.Setting) []byte {
	dst = appendHeader(dst, 6*len(settings), http2.FrameSettings, 0, 0)
	for _, s := range settings {
		dst = binary.BigEndian.AppendUint16(dst, uint16(s.ID))
		dst = binary.BigEndian.AppendUint32(dst, s.Val)
	}
	return dst
}

// unpad cuts the padding off a DATA or HEADERS payload (RFC 9113 section 6.1).
func unpad(flags http2.Flags, p []byte) ([]byte, bool) {
	if !flags.Has(http2.FlagDataPadded) {
		return p, true
	}
	if len(p) == 0 || int(p[0]) >= len(p) {
		return nil, false
	}
	return p[1 : len(p)-int(p[0])], true
}
