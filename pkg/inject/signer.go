package inject

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/hmacsig"
	"github.com/outwarden/outwarden/pkg/replay"
	"github.com/outwarden/outwarden/pkg/secret"
)

// mostSigners is how many signatures one request can get.
const mostSigners = 4

// Signer is a scheme with its key. It is immutable and used by several goroutines.
type Signer interface {
	// Check is asked once, when the plan is made: is the key any good?
	Check() error
	// Use names the key, for the record and the pool.
	Use() Use
	// Fields are the names of those that it may write. They are the signer's own:
	// the workload's are stripped, and no credential may go there.
	Fields() []string
	// Begin looks at a request as the workload sent it, before anything is
	// stripped: it may carry a signature of the workload's whose parameters count.
	// An error that wraps a flow.Reason refuses the request. It is called several
	// times for one request and must not change it.
	Begin(m Message) (Signing, error)
}

// Signing is one signature in the making.
type Signing interface {
	// Gathers reports whether Sign wants all of the content in memory.
	Gathers() bool
	// Sign computes the signature over m, which is otherwise as it will be sent, and
	// adds its fields, or its parameters by SetTarget; it may call Rewrite to sign
	// content while it passes. content is nil unless Gathers. now is the time to
	// sign.
	Sign(m Message, content []byte, now time.Time) (Signature, error)
}

// asRead yields the fields of m as its receiver reads them: what HTTP/2 has in
// :authority is Host, and its cookies are one field (RFC 9113 section 8.2.3).
func asRead(m Message) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		if _, hosts := m.Field("host"); hosts > 0 {
			m.Fields(yield)
			return
		}
		if !yield("host", m.Authority()) {
			return
		}
		var cookies []string
		for name, value := range m.Fields {
			if equalFold(name, "cookie") {
				cookies = append(cookies, value)
			} else if !yield(name, value) {
				return
			}
		}
		if cookies != nil {
			yield("cookie", strings.Join(cookies, "; "))
		}
	}
}

// Signature is what the record says of one.
type Signature struct {
	Scheme    string
	KeyID     string
	Nonce     string // "" = none
	Timestamp int64  // seconds since 1970, as signed
}

// HMAC signs by the preset of package hmacsig that covers the content's digest.
type HMAC struct {
	Name, Version string // of the key
	Scheme        hmacsig.Scheme
	Key           secret.Value
	KeyID         string        // for the record; "": Name
	Nonce         bool          // sign a nonce too
	Clock         *replay.Clock // no two signatures of a key have one time; nil: as it comes
}

// Check wants a key and a scheme.
func (s *HMAC) Check() error {
	switch {
	case s.Key.IsZero():
		return ErrEmpty
	case len(s.Scheme.Fields()) == 0:
		return hmacsig.ErrUnknownPreset
	}
	return nil
}

// Use names the key.
func (s *HMAC) Use() Use { return Use{s.Name, s.Version, Signed.String()} }

// Fields are those of the scheme.
func (s *HMAC) Fields() []string { return s.Scheme.Fields() }

// Begin has nothing to look at.
func (s *HMAC) Begin(Message) (Signing, error) { return s, nil }

// Gathers is true: the digest stands before the content.
func (s *HMAC) Gathers() bool { return true }

// Sign signs method, target, content type, time, nonce and content.
func (s *HMAC) Sign(m Message, content []byte, now time.Time) (Signature, error) {
	contentType, types := m.Field("content-type")
	if types > 1 {
		return Signature{}, fmt.Errorf("two content-type fields can't be signed: %w", flow.ReasonBadRequest)
	}
	in := hmacsig.Input{
		Method: m.Method(), Target: m.Target(), ContentType: trimSpace(contentType), BodySHA256: sha256.Sum256(content),
		Time: s.Clock.Rise(s.Name, now),
	}
	if err := checkTarget(in.Target); err != nil {
		return Signature{}, err
	}
	if s.Nonce {
		in.Nonce = hmacsig.NewNonce()
	}
	if err := in.Check(); err != nil {
		return Signature{}, fmt.Errorf("%w: %w", err, flow.ReasonBadRequest)
	}
	for _, h := range s.Scheme.Sign(s.Key.Reveal(), in) {
		m.Add(h.Name, []byte(h.Value))
	}
	return Signature{Scheme: s.Scheme.Name(), KeyID: s.keyID(), Nonce: in.Nonce, Timestamp: in.Time.Unix()}, nil
}

func (s *HMAC) keyID() string {
	if s.KeyID == "" {
		return s.Name
	}
	return s.KeyID
}
