package verify

import (
	"bytes"
	"errors"
	"time"

	"github.com/outwarden/outwarden/pkg/hmacsig"
	"github.com/outwarden/outwarden/pkg/replay"
	"github.com/outwarden/outwarden/pkg/secret"
)

// SharedKey is a secret that both sides have.
type SharedKey struct {
	ID    string
	Value secret.Value
}

// HMAC checks signatures of a template. Any one of Keys is enough, so that a key
// can be replaced while requests by the old one are under way.
type HMAC struct {
	Scheme hmacsig.TemplateScheme
	Keys   []SharedKey
}

var _ Scheme = (*HMAC)(nil)

// Check implements Scheme. Its errors are those of hmacsig.
func (h *HMAC) Check(r *Request, _ time.Time) (Proof, error) {
	m := hmacsig.Message{Method: r.Method, Host: r.Host, Target: r.Target, Body: bytes.NewReader(r.Body)}
	for _, f := range r.Fields {
		m.Fields = append(m.Fields, hmacsig.Header(f))
	}
	var p Proof
	for _, key := range h.Keys {
		got, err := h.Scheme.Verify(key.Value.Reveal(), &m)
		switch {
		case err == nil && p.Scheme == "":
			p.Scheme, p.KeyID, p.Nonce, p.Time = h.Scheme.Name(), key.ID, got.Nonce, got.Time
		case err != nil && !errors.Is(err, hmacsig.ErrMismatch):
			return Proof{}, err
		}
		if h.Scheme.Lists() || err == nil { // another key's may have been sent too, and left out
			p.add(replay.Message{KeyID: key.ID, Signature: got.MAC, Nonce: got.Nonce})
		}
	}
	if p.Scheme == "" {
		return Proof{}, hmacsig.ErrMismatch
	}
	return p, nil
}
