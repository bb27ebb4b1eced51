package inject

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/hmacsig"
)

// ErrPermit is returned where a Permit is zero, or for another plan or request.
var ErrPermit = errors.New("no permit to inject into this request")

// Message is a request head that is about to be sent.
type Message interface {
	// Method and Authority are those that Bind was shown.
	Method() string
	Authority() string
	// Target is the path with the query, as it will be sent. It is asked for
	// only where a plan writes to the query or signs.
	Target() string
	// SetTarget replaces the target. The message may keep target.
	SetTarget(target []byte)
	// Strip asks s.Drop or s.DropString about every field of the head once, and
	// takes out those that it says.
	Strip(s *Sieve)
	// Add appends a field. The message must copy value, which is only lent, and
	// writes it nowhere but upstream. An HTTP/2 message writes name in lower case.
	Add(name string, value []byte)
}

// Applied tells the record what was done. It holds no value.
type Applied struct {
	Credentials []Use      // not to be changed
	Signature   *Signature // nil: not signed
}

// Signature is what the record says of one.
type Signature struct {
	Scheme    string
	KeyID     string
	Nonce     string // "" = none
	Timestamp int64  // seconds since 1970, as signed
}

var sieves = sync.Pool{New: func() any { return new(Sieve) }}

// Apply strips the plan's slots off m, injects, and signs last. body is the
// SHA-256 of what will be sent as the body; it is only read if NeedsBody. now is
// the time that is signed.
//
// Errors are ErrPermit, or wrap flow.ReasonBadRequest if the request asks a proxy
// behind us to take a credential off again, or can't be signed for two Content-Type
// fields or a target that is no path. After an error m must not be sent.
func (p *Plan) Apply(permit Permit, m Message, body [32]byte, now time.Time) (Applied, error) {
	if !permit.allows(p, m) {
		return Applied{}, ErrPermit
	}
	if p.Empty() {
		return Applied{}, nil
	}
	contentType, err := p.strip(m)
	if err != nil {
		return Applied{}, err
	}
	if err := p.inject(m); err != nil {
		return Applied{}, err
	}
	done := Applied{Credentials: p.uses}
	if p.signer != nil {
		done.Signature, err = p.signer.sign(m, contentType, body, now)
	}
	return done, err
}

// strip takes out what the workload sent in our fields.
func (p *Plan) strip(m Message) (contentType string, err error) {
	s := sieves.Get().(*Sieve)
	defer sieves.Put(s)
	*s = Sieve{slots: p.slots, signs: p.signer != nil}
	m.Strip(s)
	switch {
	case s.nominated:
		return "", fmt.Errorf("connection option names an injected field: %w", flow.ReasonBadRequest)
	case s.types > 1:
		return "", fmt.Errorf("two content-type fields can't be signed: %w", flow.ReasonBadRequest)
	}
	return s.contentType, nil
}

func (p *Plan) inject(m Message) error {
	if len(p.queries) > 0 {
		if err := p.injectQuery(m); err != nil {
			return err
		}
	}
	for i := range p.fields {
		m.Add(p.fields[i].name, p.fields[i].value.Reveal())
	}
	return nil
}

func (p *Plan) injectQuery(m Message) error {
	target := m.Target()
	if err := checkTarget(target); err != nil {
		return err
	}
	room := len(target) + 1
	for i := range p.queries {
		room += 1 + p.queries[i].value.Len()
	}
	edited := stripQuery(make([]byte, 0, room), target, p.names)
	for i := range p.queries {
		edited = appendQuery(edited, p.queries[i].value.Reveal())
	}
	m.SetTarget(edited)
	return nil
}

// checkTarget wants the origin form (RFC 9112 section 3.2.1).
func checkTarget(target string) error {
	if !strings.HasPrefix(target, "/") || strings.Contains(target, "#") {
		return fmt.Errorf("target is no path: %w", flow.ReasonBadRequest)
	}
	return nil
}

// sign computes the signature over m as it stands and adds its fields.
func (s *Signer) sign(m Message, contentType string, body [32]byte, now time.Time) (*Signature, error) {
	in := hmacsig.Input{Method: m.Method(), Target: m.Target(), ContentType: contentType, BodySHA256: body, Time: now}
	if err := checkTarget(in.Target); err != nil {
		return nil, err
	}
	if s.Nonce {
		in.Nonce = hmacsig.NewNonce()
	}
	if err := in.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", err, flow.ReasonBadRequest)
	}
	for _, h := range s.Scheme.Sign(s.Key.Reveal(), in) {
		m.Add(h.Name, []byte(h.Value))
	}
	return &Signature{Scheme: s.Scheme.Name(), KeyID: s.KeyID, Nonce: in.Nonce, Timestamp: now.Unix()}, nil
}
