package h2

import (
	"bytes"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// encoder writes field sections for one direction of one connection. The order
// of its calls is the order on the wire.
type encoder struct {
	hpack *hpack.Encoder
	block bytes.Buffer
}

func newEncoder() *encoder {
	e := &encoder{}
	e.hpack = hpack.NewEncoder(&e.block)
	return e
}

// indexing says how a field is represented (RFC 7541 section 6.2).
type indexing uint8

const (
	indexed indexing = iota // in the dynamic table
	plain                   // a literal: its value hardly comes again
	never                   // a literal, and so on every hop behind us
)

// representation keeps out of the table what does not belong there. A secret in it
// could be guessed by who sees the length of what we send (RFC 7541 section 7.1).
func representation(f *hpack.HeaderField) indexing {
	if f.Sensitive {
		return never
	}
	if len(f.Name)+len(f.Value) > maxTable/4 {
		return plain
	}
	switch f.Name { // a switch costs half of what a map does
	case "authorization", "proxy-authorization", "cookie", "set-cookie", "x-signature", "x-api-key", "api-key",
		"x-auth-token", "signature", "x-amz-security-token", "x-nonce":
		return never
	case ":path", "content-length", "etag", "if-none-match", "if-modified-since", "location", "age", "traceparent",
		"x-request-id", "x-correlation-id", "x-amzn-trace-id", "x-timestamp", "grpc-timeout":
		return plain
	}
	return indexed
}

// encode returns the block; it is valid until the next call. The first field is
// always the library's to write, since a change of the table's size stands before
// it (RFC 7541 section 4.2).
func (e *encoder) encode(fields []hpack.HeaderField) []byte {
	e.block.Reset()
	for i := range fields {
		f := &fields[i]
		how := representation(f)
		if how == indexed || i == 0 {
			_ = e.hpack.WriteField(*f) // a bytes.Buffer takes everything
			continue
		}
		e.block.Write(appendLiteral(e.block.AvailableBuffer(), f, how))
	}
	return e.block.Bytes()
}

// appendLiteral writes a literal that leaves the table alone (RFC 7541 sections
// 6.2.2 and 6.2.3).
func appendLiteral(dst []byte, f *hpack.HeaderField, how indexing) []byte {
	first := byte(0)
	if how == never {
		first = 0x10
	}
	index := staticNames[f.Name]
	dst = appendInteger(dst, first, 4, index)
	if index == 0 {
		dst = appendString(dst, f.Name)
	}
	return appendString(dst, f.Value)
}

// appendString writes s as it is: Huffman coding saves few bytes of a record and
// costs more than they do.
func appendString(dst []byte, s string) []byte {
	return append(appendInteger(dst, 0, 7, uint64(len(s))), s...)
}

// appendInteger writes n with a prefix of the given bits (RFC 7541 section 5.1).
func appendInteger(dst []byte, first byte, bits uint, n uint64) []byte {
	most := uint64(1)<<bits - 1
	if n < most {
		return append(dst, first|byte(n))
	}
	dst = append(dst, first|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}

// appendBlock cuts a block into HEADERS and CONTINUATION.
func appendBlock(dst, block []byte, id uint32, end bool, most int) []byte {
	kind, flags := http2.FrameHeaders, http2.Flags(0)
	if end {
		flags = http2.FlagHeadersEndStream
	}
	for {
		n := min(len(block), most)
		if n == len(block) {
			flags |= http2.FlagHeadersEndHeaders
		}
		dst = appendHeader(dst, n, kind, flags, id)
		dst = append(dst, block[:n]...)
		if block = block[n:]; len(block) == 0 {
			return dst
		}
		kind, flags = http2.FrameContinuation, 0
	}
}

// staticNames are the names of the static table with their first index
// (RFC 7541 appendix A). It is never written after it was made.
var staticNames = map[string]uint64{
	":authority": 1, ":method": 2, ":path": 4, ":scheme": 6, ":status": 8, "accept-charset": 15,
	"accept-encoding": 16, "accept-language": 17, "accept-ranges": 18, "accept": 19,
	"access-control-allow-origin": 20, "age": 21, "allow": 22, "authorization": 23, "cache-control": 24,
	"content-disposition": 25, "content-encoding": 26, "content-language": 27, "content-length": 28,
	"content-location": 29, "content-range": 30, "content-type": 31, "cookie": 32, "date": 33, "etag": 34,
	"expect": 35, "expires": 36, "from": 37, "host": 38, "if-match": 39, "if-modified-since": 40,
	"if-none-match": 41, "if-range": 42, "if-unmodified-since": 43, "last-modified": 44, "link": 45,
	"location": 46, "max-forwards": 47, "proxy-authenticate": 48, "proxy-authorization": 49, "range": 50,
	"referer": 51, "refresh": 52, "retry-after": 53, "server": 54, "set-cookie": 55,
	"strict-transport-security": 56, "transfer-encoding": 57, "user-agent": 58, "vary": 59, "via": 60,
	"www-authenticate": 61,
}
