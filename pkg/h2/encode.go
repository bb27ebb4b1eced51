package h2

import (
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// encoder writes field sections for one direction of one connection. The order
// of its calls is the order on the wire. It differs from x/net's in that it finds
// what it wrote before without hashing whole strings.
type encoder struct {
	table
	block   []byte
	resized bool // the peer is to be told of max, and before of least if that is less
	least   int  // max was, since it was last told
	memo    [memoSize]uint32
}

func newEncoder() *encoder { return &encoder{table: table{max: maxTable}} }

// resize takes what the peer allows the table to be.
func (e *encoder) resize(size uint32) {
	e.limit(int(min(size, maxTable)))
	if !e.resized {
		e.resized, e.least = true, e.max
	}
	e.least = min(e.least, e.max)
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

// encode returns the block; it is valid until the next call.
func (e *encoder) encode(fields []hpack.HeaderField) []byte {
	e.block = e.appendSize(e.block[:0])
	for i := range fields {
		f := &fields[i]
		if how := representation(f); how != indexed {
			e.block = appendLiteral(e.block, f, how)
			continue
		}
		e.block = e.appendIndexed(e.block, f)
	}
	return e.block
}

// appendSize announces a change of the table's size (RFC 7541 section 4.2).
func (e *encoder) appendSize(dst []byte) []byte {
	if !e.resized {
		return dst
	}
	e.resized = false
	if e.least < e.max {
		dst = appendInteger(dst, 0x20, 5, uint64(e.least))
	}
	return appendInteger(dst, 0x20, 5, uint64(e.max))
}

// appendIndexed writes the index of f, or a literal that will have one (RFC 7541
// sections 6.1 and 6.2.1).
func (e *encoder) appendIndexed(dst []byte, f *hpack.HeaderField) []byte {
	m := &e.memo[pairSlot(f)]
	index := e.recall(*m, f)
	if index == 0 {
		index = staticIndex(f)
		*m = uint32(index)
	}
	if index == 0 {
		number, name, found := e.search(f)
		if !found {
			dst = appendText(appendInteger(dst, 0x40, 6, name), f, name)
			e.add(*f)
			*m = uint32(e.next-1) + firstNumber
			return dst
		}
		*m = uint32(number) + firstNumber
		index = e.indexOf(number)
	}
	return appendInteger(dst, 0x80, 7, index)
}

// appendLiteral writes a literal that leaves the table alone (RFC 7541 sections
// 6.2.2 and 6.2.3).
func appendLiteral(dst []byte, f *hpack.HeaderField, how indexing) []byte {
	first := byte(0)
	if how == never {
		first = 0x10
	}
	index := staticNames[f.Name]
	return appendText(appendInteger(dst, first, 4, index), f, index)
}

// appendText writes the text of a literal whose name has that index; 0: none.
func appendText(dst []byte, f *hpack.HeaderField, index uint64) []byte {
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
