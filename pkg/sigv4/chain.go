package sigv4

import "crypto/hmac"

// Chain makes the signatures of an aws-chunked body, each over the one before
// (Amazon S3 API Reference, "Transferring Payload in Multiple Chunks"). It
// serves one body and one goroutine.
type Chain struct {
	key      []byte
	middle   string // time and scope, a line each
	previous string
}

// Chunk signs the next chunk by its SHA-256.
func (c *Chain) Chunk(sum [32]byte) string {
	return c.next(chunkText(c.middle, c.previous, sum))
}

// Trailer signs the trailer fields, after the last chunk. canonical is what
// CanonicalTrailer gives.
func (c *Chain) Trailer(canonical []byte) string {
	return c.next(trailerText(c.middle, c.previous, canonical))
}

func (c *Chain) next(text string) string {
	c.previous = sign(c.key, text)
	return c.previous
}

// matches compares in constant time.
func (c *Chain) matches(made string, got []byte) bool { return hmac.Equal([]byte(made), got) }

func chunkText(middle, previous string, sum [32]byte) string {
	b := make([]byte, 0, 384)
	b = append(append(append(b, "AWS4-HMAC-SHA256-PAYLOAD\n"...), middle...), previous...)
	b = append(append(append(b, '\n'), EmptyPayload...), '\n')
	return string(appendHex(b, sum[:]))
}

func trailerText(middle, previous string, canonical []byte) string {
	return "AWS4-HMAC-SHA256-TRAILER\n" + middle + previous + "\n" + sumHex(canonical)
}

func appendHex(b, sum []byte) []byte {
	const digits = "0123456789abcdef"
	for _, c := range sum {
		b = append(b, digits[c>>4], digits[c&15])
	}
	return b
}
