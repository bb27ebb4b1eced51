package hmacsig

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"
)

var (
	// ErrUnknownPreset is returned for a preset that this package lacks.
	ErrUnknownPreset = errors.New("unknown signature preset")
	// ErrMalformed is returned for a signature that is not in the scheme's form.
	ErrMalformed = errors.New("signature is malformed")
	// ErrMismatch is returned for a signature that the key did not make.
	ErrMismatch = errors.New("signature does not match")
	// ErrControlByte is returned for an Input that would not stay on its lines.
	ErrControlByte = errors.New("control byte in what is to be signed")
)

// Input is what a signature covers. Strings are the bytes on the wire.
type Input struct {
	Method      string
	Target      string // path with query, in origin form (RFC 9112 section 3.2.1)
	ContentType string // value of Content-Type; "" if the request has none
	BodySHA256  [sha256.Size]byte
	Time        time.Time // only whole seconds are signed
	Nonce       string    // "" = none
}

// Header is one field that carries a part of the signature.
type Header struct{ Name, Value string }

// Scheme is one way to sign. The zero Scheme signs nothing: Sign returns nil and
// Verify fails. A Scheme may be copied and used by several goroutines.
type Scheme struct {
	name      string
	timestamp string // names of the fields, as written
	nonce     string
	signature string
	prefix    string // before the hex digits of the signature
}

// Preset returns the scheme of that name, or ErrUnknownPreset. Schemes that sign
// more than a body's digest are TemplatePreset's.
func Preset(name string) (Scheme, error) {
	if name != "knoxcall" {
		return Scheme{}, fmt.Errorf("%w %q", ErrUnknownPreset, name)
	}
	return Scheme{
		name:      name,
		timestamp: "X-Timestamp",
		nonce:     "X-Nonce",
		signature: "X-Signature",
		prefix:    "sha256=",
	}, nil
}

// Name is the preset's name, as the audit trail shows it.
func (s Scheme) Name() string { return s.name }

// Fields lists the names of the fields that the scheme may write. A request's
// own fields of these names must be taken off before Sign's are added.
func (s Scheme) Fields() []string {
	if s.name == "" {
		return nil
	}
	return []string{s.timestamp, s.nonce, s.signature}
}

// NewNonce returns 128 random bits as 32 hex digits.
func NewNonce() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: the runtime ends the process instead
	return hex.EncodeToString(b[:])
}

// Check returns ErrControlByte if a part of in would not stay on its line.
func (in *Input) Check() error {
	for _, s := range [...]string{in.Method, in.Target, in.ContentType, in.Nonce} {
		for i := range len(s) {
			if s[i] < 0x20 && s[i] != '\t' || s[i] == 0x7f {
				return ErrControlByte
			}
		}
	}
	return nil
}

// Sign returns the fields to add to the request, in the order they are written.
// The caller has Checked in.
func (s Scheme) Sign(key []byte, in Input) []Header {
	if s.name == "" {
		return nil
	}
	fields := make([]Header, 0, 3)
	fields = append(fields, Header{s.timestamp, strconv.FormatInt(in.Time.Unix(), 10)})
	if in.Nonce != "" {
		fields = append(fields, Header{s.nonce, in.Nonce})
	}
	return append(fields, Header{s.signature, s.encode(s.sum(key, in))})
}

// Verify returns nil if signature, the value of the signature field, was made
// with key over in; ErrControlByte, ErrMalformed or ErrMismatch otherwise. The
// digests are compared in constant time. Upper-case hex is malformed, so that
// one signature has one spelling.
func (s Scheme) Verify(key []byte, in Input, signature string) error {
	if s.name == "" {
		return ErrUnknownPreset
	}
	if err := in.Check(); err != nil {
		return err
	}
	want := s.encode(s.sum(key, in))
	if len(signature) != len(want) || !lowerHex(signature, s.prefix) {
		return ErrMalformed
	}
	if !hmac.Equal([]byte(want), []byte(signature)) {
		return ErrMismatch
	}
	return nil
}

// StringToSign returns the lines that are signed; doc.go defines them.
func (s Scheme) StringToSign(in Input) string { return string(appendLines(nil, in)) }

func (s Scheme) sum(key []byte, in Input) []byte {
	var room [512]byte
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write(appendLines(room[:0], in))
	return mac.Sum(room[:0])
}

func (s Scheme) encode(sum []byte) string {
	out := make([]byte, 0, len(s.prefix)+hex.EncodedLen(sha256.Size))
	return string(hex.AppendEncode(append(out, s.prefix...), sum))
}

func appendLines(b []byte, in Input) []byte {
	b = append(append(b, in.Method...), '\n')
	b = append(append(b, in.Target...), '\n')
	b = append(append(append(b, "content-type:"...), in.ContentType...), '\n')
	b = append(b, "x-timestamp:"...)
	b = append(strconv.AppendInt(b, in.Time.Unix(), 10), '\n')
	if in.Nonce != "" {
		b = append(append(append(b, "x-nonce:"...), in.Nonce...), '\n')
	}
	return hex.AppendEncode(b, in.BodySHA256[:])
}

// lowerHex reports whether s is prefix and then lower-case hex digits alone.
func lowerHex(s, prefix string) bool {
	if s[:len(prefix)] != prefix {
		return false
	}
	for i := len(prefix); i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
