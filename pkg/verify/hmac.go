package verify

import (
	"bytes"
	"errors"
	"time"

	"github.com/outwarden/outwarden/pkg/hmacsig"
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
	for _, key := range h.Keys {
		got, err := h.Scheme.Verify(key.Value.Reveal(), &m)
		if err == nil {
			return Proof{h.Scheme.Name(), key.ID, got.Nonce, got.Time, got.MAC}, nil
		}
		if !errors.Is(err, hmacsig.ErrMismatch) {
			return Proof{}, err
		}
	}
	return Proof{}, hmacsig.ErrMismatch
}
