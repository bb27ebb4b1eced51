package secret

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// ErrControlByte is returned for a value that would break out of the header,
// query or line it is written to.
var ErrControlByte = errors.New("secret has a control byte (CR, LF, NUL or another)")

// Value is a secret. The zero Value holds nothing. It is immutable and may be
// copied; copies share the bytes.
//
// The bytes live in a closure and not in a field: printers that walk a value by
// reflection call no method on what lies in an unexported field, but they can't
// look into a function either, and print its address.
type Value struct{ reveal func() []byte }

// New returns a Value with a copy of b.
func New(b []byte) Value {
	if len(b) == 0 {
		return Value{}
	}
	kept := bytes.Clone(b)
	return Value{func() []byte { return kept }}
}

// Reveal returns the secret bytes, nil if there are none. The caller must not
// change or keep them beyond the call they are needed for.
func (v Value) Reveal() []byte {
	if v.reveal == nil {
		return nil
	}
	return v.reveal()
}

// Len is the number of bytes.
func (v Value) Len() int { return len(v.Reveal()) }

// IsZero reports whether there is no secret in v.
func (v Value) IsZero() bool { return v.reveal == nil }

// Equal compares in constant time for values of one length.
func (v Value) Equal(o Value) bool { return subtle.ConstantTimeCompare(v.Reveal(), o.Reveal()) == 1 }

// FieldSafe returns ErrControlByte if the value may not stand in an HTTP field
// (RFC 9110 section 5.5): only HTAB is allowed of the control bytes.
func (v Value) FieldSafe() error {
	for _, c := range v.Reveal() {
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

// LogValue shows [redacted] to log/slog.
func (Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns [redacted]; XML and text encoders use it.
func (Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[redacted]".
func (Value) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalYAML returns [redacted].
func (Value) MarshalYAML() (any, error) { return redacted, nil }
