package secret

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
)

const redacted = "[redacted]"

// ErrControlByte is returned for a value that would break out of the header,
// query or line it is written to.
var ErrControlByte = errors.New("secret has a control byte (CR, LF, NUL or another)")

// Value is a secret. The zero Value holds nothing. It is immutable and may be
// copied; copies share the bytes.
type Value struct{ b []byte }

// New returns a Value with a copy of b.
func New(b []byte) Value { return Value{bytes.Clone(b)} }

// Reveal returns the secret bytes. The caller must not change or keep them
// beyond the call they are needed for.
func (v Value) Reveal() []byte { return v.b }

// Len is the number of bytes.
func (v Value) Len() int { return len(v.b) }

// IsZero reports whether there is no secret in v.
func (v Value) IsZero() bool { return len(v.b) == 0 }

// Equal compares in constant time for values of one length.
func (v Value) Equal(o Value) bool { return subtle.ConstantTimeCompare(v.b, o.b) == 1 }

// FieldSafe returns ErrControlByte if the value may not stand in an HTTP field
// (RFC 9110 section 5.5): only HTAB is allowed of the control bytes.
func (v Value) FieldSafe() error {
	for _, c := range v.b {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return ErrControlByte
		}
	}
	return nil
}

// String returns [redacted].
func (Value) String() string { return redacted }

// GoString returns [redacted].
func (Value) GoString() string { return redacted }

// Format writes [redacted] whatever the verb.
func (Value) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// MarshalText returns [redacted]; JSON and YAML encoders use it too.
func (Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[redacted]".
func (Value) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalYAML returns [redacted].
func (Value) MarshalYAML() (any, error) { return redacted, nil }
