package inject

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/secret"
)

// ErrPermit is returned where a Permit is zero, or for another plan or request.
var ErrPermit = errors.New("no permit to inject into this request")

// Applied tells what was done to a request. It holds no value.
type Applied struct {
	Credentials []Use      // not to be changed
	Signature   *Signature // nil: not signed; of several, the last
}

// Injected is a value that goes out on requests, for who looks for it in
// responses. A signing key is none: it never leaves.
type Injected struct {
	Name        string       // of the credential
	Value       secret.Value // without what its form puts around it
	Placeholder string       // what the workload holds in its stead; "": nothing
}

var sieves = sync.Pool{New: func() any { return new(Sieve) }}

// Apply strips the plan's slots off m, injects, signs, and seals. content is what
// Gathers asked for. now is the time that is signed.
//
// Errors are ErrPermit, Message.Seal's, or wrap a flow.Reason if the request can't
// carry what the plan has: because it asks a proxy behind us to take a credential
// off again, or can't be signed for two Content-Type fields or a target that is no
// path. After an error m must not be sent.
func (p *Plan) Apply(permit Permit, m Message, content Content, now time.Time) (Sealed, Applied, error) {
	if !permit.allows(p, m) {
		return Sealed{}, Applied{}, ErrPermit
	}
	done, err := p.write(m, content, now)
	if err != nil {
		return Sealed{}, Applied{}, err
	}
	sealed, err := seal(permit.on, m)
	return sealed, done, err
}

// write is what the plan does to a message.
func (p *Plan) write(m Message, content Content, now time.Time) (Applied, error) {
	if p.Empty() {
		return Applied{}, nil
	}
	var signings [mostSigners]Signing
	for i, s := range p.signers {
		var err error
		if signings[i], err = s.Begin(m); err != nil {
			return Applied{}, err
		}
	}
	sent := content.Bytes
	asked, err := p.inject(m, &content)
	if err != nil {
		return Applied{}, err
	}
	if p.edits() {
		if err := tell(signings[:len(p.signers)], sent, !bytes.Equal(sent, content.Bytes)); err != nil {
			return Applied{}, err
		}
	}
	done := p.applied(asked)
	for _, s := range signings[:len(p.signers)] {
		signature, err := s.Sign(m, content.Bytes, now)
		if err != nil {
			return Applied{}, err
		}
		done.Signature = &signature
	}
	return done, nil
}

// declarer is a Signing that goes by what the workload said of its content. It is
// shown that, and told whether another content leaves.
type declarer interface {
	gathered(sent []byte, edited bool) error
}

func tell(signings []Signing, sent []byte, edited bool) error {
	for _, s := range signings {
		d, ok := s.(declarer)
		if !ok {
			continue
		}
		if err := d.gathered(sent, edited); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plan) inject(m Message, content *Content) (hits, error) {
	s := sieves.Get().(*Sieve)
	s.plan = p
	asked, err := s.inject(m, content)
	*s = Sieve{}
	sieves.Put(s)
	return asked, err
}

// inject strips the plan's slots, then writes: placeholders, target, fields, and
// content last, since nothing that is written into it may be taken for more.
func (s *Sieve) inject(m Message, content *Content) (hits, error) {
	p := s.plan
	m.Strip(s)
	if s.nominated {
		return 0, fmt.Errorf("connection option names an injected field: %w", flow.ReasonBadRequest)
	}
	if err := p.injectTarget(m, &s.asked); err != nil {
		return 0, err
	}
	for _, f := range s.changed {
		m.Add(f[0], []byte(f[1]))
	}
	if len(p.cookies) > 0 {
		p.addCookies(m, s.jar, &s.asked)
	}
	for i := range p.fields {
		m.Add(p.fields[i].name, p.fields[i].value.Reveal())
	}
	if !p.edits() {
		return s.asked, nil
	}
	edited, err := p.injectBody(m, *content, &s.asked)
	content.Bytes = edited
	return s.asked, err
}

func (p *Plan) injectTarget(m Message, asked *hits) error {
	if len(p.swaps) > 0 {
		p.swapTarget(m, asked)
	}
	if len(p.segments) > 0 {
		if err := p.injectPath(m); err != nil {
			return err
		}
	}
	if len(p.queries) == 0 {
		return nil
	}
	return p.injectQuery(m)
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
