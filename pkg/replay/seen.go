package replay

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
)

var (
	// ErrReplayed is returned for a signature, or a key's nonce, that was seen before.
	ErrReplayed = errors.New("message was seen before")
	// ErrStale is returned for a time before the window.
	ErrStale = errors.New("message is too old")
	// ErrSetBack is returned for a time that is too old only since the clock was set back.
	ErrSetBack = errors.New("clock was set back, and nobody can tell what was seen in the time that comes again")
	// ErrEarly is returned for a time after the window.
	ErrEarly = errors.New("message is from the future")
	// ErrFull is returned while the cache has no room.
	ErrFull = errors.New("replay cache is full")
	// ErrJournal is returned when what was accepted can't be written down.
	ErrJournal = errors.New("replay journal cannot be written")
	// ErrEncoding is returned for a signature that is not in its one spelling.
	ErrEncoding = errors.New("signature is not canonically encoded")
	// ErrAhead is returned when a clock would run too far ahead of the time.
	ErrAhead = errors.New("signing clock is too far ahead of the time")
	// ErrOptions is returned for settings that make no cache.
	ErrOptions = errors.New("replay cache: window and capacity must be positive")
)

// Message is what is remembered of a verified message.
type Message struct {
	KeyID     string `json:"key_id"`
	Signature []byte `json:"signature"` // canonical bytes
	Nonce     string `json:"nonce"`     // "" = none; one nonce serves a key once, whatever is signed
	Untimed   bool   `json:"untimed"`   // it says no time, so it counts as signed when it comes
}

// mark is a message's signature or nonce. 128 bits are kept: whoever could find
// two that collide has the key.
type mark [16]byte

// marks are what of m must not have been seen.
func (m *Message) marks() []mark {
	out := make([]mark, 0, 2)
	out = append(out, markOf('s', m.KeyID, m.Signature))
	if m.Nonce != "" {
		out = append(out, markOf('n', m.KeyID, []byte(m.Nonce)))
	}
	return out
}

func markOf(kind byte, keyID string, b []byte) mark {
	text := make([]byte, 0, 9+len(keyID)+len(b))
	text = binary.BigEndian.AppendUint64(append(text, kind), uint64(len(keyID)))
	text = append(append(text, keyID...), b...)
	sum := sha256.Sum256(text)
	return mark(sum[:16])
}

// Encoding is a way to write a signature.
type Encoding uint8

// The encodings that Decode reads.
const (
	Hex       Encoding = iota // lower case
	Base64                    // with padding
	Base64URL                 // without padding
)

// Decode gives the bytes of s, ErrEncoding if s is not their one spelling.
func Decode(e Encoding, s string) ([]byte, error) {
	var b []byte
	var err error
	again := ""
	switch e {
	case Hex:
		b, err = hex.DecodeString(s)
		again = hex.EncodeToString(b)
	case Base64:
		b, err = base64.StdEncoding.DecodeString(s)
		again = base64.StdEncoding.EncodeToString(b)
	case Base64URL:
		b, err = base64.RawURLEncoding.DecodeString(s)
		again = base64.RawURLEncoding.EncodeToString(b)
	default:
		return nil, ErrEncoding
	}
	if err != nil || again != s || s == "" {
		return nil, ErrEncoding
	}
	return b, nil
}
