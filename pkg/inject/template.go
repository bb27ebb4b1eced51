package inject

import (
	"bytes"
	"fmt"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/hmacsig"
	"github.com/outwarden/outwarden/pkg/replay"
	"github.com/outwarden/outwarden/pkg/secret"
)

// Template signs by a template of package hmacsig.
type Template struct {
	Name, Version string // of the keys
	Scheme        hmacsig.TemplateScheme
	Keys          []secret.Value // several where the scheme has a list of signatures
	KeyID         string         // for the record; "": Name
	Nonce         bool           // sign a nonce where the scheme has room for one
	Clock         *replay.Clock  // no two signatures of a key have one time
}

var _ Signer = (*Template)(nil)

// Check signs nothing once: the keys must be encoded as the scheme says.
func (s *Template) Check() error {
	for _, key := range s.Keys {
		if key.IsZero() {
			return ErrEmpty
		}
	}
	_, err := s.Scheme.SignAll(s.keys(), &hmacsig.Message{Nonce: "n"})
	return err
}

// Use names the keys.
func (s *Template) Use() Use { return Use{s.Name, s.Version, Signed.String()} }

// Fields are those of the scheme.
func (s *Template) Fields() []string { return s.Scheme.FieldNames() }

// Begin has nothing to look at.
func (s *Template) Begin(Message) (Signing, error) { return s, nil }

// Gathers reports whether the text has the body in it, or its digest.
func (s *Template) Gathers() bool { return s.Scheme.CoversBody() }

// Sign signs what the text says.
func (s *Template) Sign(m Message, content []byte, now time.Time) (Signature, error) {
	if err := checkTarget(m.Target()); err != nil {
		return Signature{}, err
	}
	message := hmacsig.Message{
		Method: m.Method(), Host: m.Authority(), Target: m.Target(),
		Time: s.Clock.Rise(s.Name, now), Body: bytes.NewReader(content),
	}
	for name, value := range asRead(m) {
		message.Fields = append(message.Fields, hmacsig.Header{Name: name, Value: value})
	}
	if s.Nonce || s.Scheme.NeedsNonce() {
		message.Nonce = hmacsig.NewNonce()
	}
	fields, err := s.Scheme.SignAll(s.keys(), &message)
	if err != nil {
		return Signature{}, fmt.Errorf("%w: %w", err, flow.ReasonBadRequest)
	}
	for _, f := range fields {
		m.Add(f.Name, []byte(f.Value))
	}
	return Signature{Scheme: s.Scheme.Name(), KeyID: s.keyID(), Nonce: message.Nonce, Timestamp: message.Time.Unix()}, nil
}

func (s *Template) keys() [][]byte {
	out := make([][]byte, len(s.Keys))
	for i := range s.Keys {
		out[i] = s.Keys[i].Reveal()
	}
	return out
}

func (s *Template) keyID() string {
	if s.KeyID == "" {
		return s.Name
	}
	return s.KeyID
}
