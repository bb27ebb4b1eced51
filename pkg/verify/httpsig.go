package verify

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/outwarden/outwarden/pkg/httpsig"
	"github.com/outwarden/outwarden/pkg/replay"
)

// HTTPSig checks message signatures (RFC 9421). Of several signatures one that
// holds is enough; all that hold are remembered.
type HTTPSig struct {
	Keys []*httpsig.Key // found by their id, which several may have
	// Required are components that a signature must cover beside the request line
	// (@method and the whole target) and, where there is a body, its digest.
	Required []httpsig.Component
	Tag      string // "": any
	Nonce    bool   // there must be one
	// Partial asks for Required alone, as web-bot-auth covers no more than @authority.
	Partial bool
}

var _ Scheme = (*HTTPSig)(nil)

// most is how many signatures one request may have: each is checked.
const most = 8

// Check implements Scheme. Its errors are those of httpsig, ErrKey and ErrUncovered.
func (h *HTTPSig) Check(r *Request, now time.Time) (Proof, error) {
	m := httpsig.Message{Method: r.Method, Scheme: r.Scheme, Authority: r.Host, Target: r.Target}
	m.Fields = append(m.Fields, httpsig.Field{Name: "Host", Value: r.Host})
	for _, f := range r.Fields {
		m.Fields = append(m.Fields, httpsig.Field(f))
	}
	labels, err := httpsig.Labels(&m)
	if err != nil {
		return Proof{}, err
	}
	if len(labels) > most {
		return Proof{}, fmt.Errorf("%w: over %d signatures", httpsig.ErrMalformed, most)
	}
	var p Proof
	refused := error(httpsig.ErrUnsigned)
	for _, label := range labels {
		v, err := h.verify(r, &m, label, now)
		switch {
		case err == nil:
			if p.Scheme == "" {
				p.Scheme, p.KeyID, p.Nonce, p.Time = "httpsig", v.Key.ID(), v.Params.Nonce, v.Params.Created
			}
			p.add(replay.Message{KeyID: v.Key.ID(), Signature: v.Canonical, Nonce: v.Params.Nonce})
		case errors.Is(refused, httpsig.ErrUnsigned), errors.Is(refused, ErrKey):
			refused = err
		}
	}
	if p.Scheme == "" {
		return Proof{}, refused
	}
	return p, nil
}

func (h *HTTPSig) verify(r *Request, m *httpsig.Message, label string, now time.Time) (httpsig.Verified, error) {
	// The window is the Verifier's, so created has no limit here but expires does.
	policy := httpsig.Policy{Required: h.Required, Tag: h.Tag, Nonce: h.Nonce, Skew: forever}
	v, err := h.byAnyKey(m, label, policy, now)
	switch {
	case err != nil:
		return v, err
	case !spelt(m, &v):
		return v, fmt.Errorf("%w: the signature is not in its one spelling", httpsig.ErrMalformed)
	case h.Partial:
		return v, nil
	}
	return v, h.covers(r, m, v.Components)
}

// spelt reports whether the signature stands in its field as a signer writes it.
// Base64 may have spare bits, and a lenient parser takes it without padding.
func spelt(m *httpsig.Message, v *httpsig.Verified) bool {
	want := v.Label + "=:" + base64.StdEncoding.EncodeToString(v.Signature) + ":"
	return slices.ContainsFunc(m.Fields, func(f httpsig.Field) bool {
		return strings.EqualFold(f.Name, "signature") && strings.Contains(f.Value, want)
	})
}

const forever = 100 * 365 * 24 * time.Hour

// byAnyKey tries every key of the id that the signature names, as one that is replaced
// may keep its id.
func (h *HTTPSig) byAnyKey(m *httpsig.Message, label string, policy httpsig.Policy, now time.Time) (httpsig.Verified, error) {
	refused := ErrKey
	for _, k := range h.Keys {
		v, err := httpsig.Verify(m, label, func(p httpsig.Params) (*httpsig.Key, error) {
			if k.ID() == p.KeyID || p.KeyID == "" && len(h.Keys) == 1 {
				return k, nil
			}
			return nil, ErrKey
		}, policy, now)
		switch {
		case err == nil:
			return v, nil
		case !errors.Is(err, ErrKey) && (errors.Is(refused, ErrKey) || !errors.Is(err, httpsig.ErrKey)):
			refused = err
		}
	}
	return httpsig.Verified{}, refused
}

// covers wants the request line and the body covered, and the body to be the one of
// the digest.
func (h *HTTPSig) covers(r *Request, m *httpsig.Message, list []httpsig.Component) error {
	has := func(name string) bool {
		return slices.ContainsFunc(list, func(c httpsig.Component) bool { return c.String() == `"`+name+`"` })
	}
	target := has("@target-uri") || has("@authority") && (has("@request-target") || has("@path") && has("@query"))
	switch {
	case !has("@method"), !target:
		return fmt.Errorf("%w: method, authority, path and query", ErrUncovered)
	case has("content-digest"):
		return httpsig.CheckDigest(m, "content-digest", r.Body)
	case len(r.Body) > 0:
		return fmt.Errorf("%w: no digest of the body", ErrUncovered)
	}
	return nil
}
