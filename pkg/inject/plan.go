package inject

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/outwarden/outwarden/pkg/replay"
	"github.com/outwarden/outwarden/pkg/secret"
)

var (
	// ErrEmpty is returned for a credential without bytes.
	ErrEmpty = errors.New("secret is empty")
	// ErrField is returned for a field that a credential may not be written to.
	ErrField = errors.New("not a field for a credential")
	// ErrValue is returned for a value that its form has no room for.
	ErrValue = errors.New("value does not fit the form")
	// ErrSlotTaken is returned where two credentials write to one place.
	ErrSlotTaken = errors.New("two credentials write to one place")
)

// Form is how a credential is written.
type Form uint8

// The forms. Their names stand in the audit trail.
const (
	Bearer      Form = iota + 1 // Authorization: Bearer TOKEN (RFC 6750)
	Basic                       // Authorization: Basic ... (RFC 7617)
	Header                      // FIELD: PREFIX VALUE
	Query                       // ?FIELD=VALUE
	Signed                      // the key of a signature; never written itself
	Cookie                      // Cookie: FIELD=VALUE, beside the workload's others
	Path                        // the segment of that number is PREFIX VALUE
	JSON                        // a string in a JSON body, where the pointer FIELD leads (RFC 6901)
	FormField                   // FIELD of an urlencoded form, or a text part of a multipart one
	Placeholder                 // what stands where the workload wrote the placeholder
)

var formNames = [...]string{
	Bearer: "bearer", Basic: "basic", Header: "header", Query: "query", Signed: "signature", Cookie: "cookie", Path: "path",
	JSON: "json", FormField: "form", Placeholder: "placeholder",
}

// String is the form's name in configuration and records.
func (f Form) String() string {
	if int(f) < len(formNames) && f != 0 {
		return formNames[f]
	}
	return fmt.Sprintf("form(%d)", uint8(f))
}

// Credential is one secret and the place it goes to.
type Credential struct {
	Name, Version string
	Form          Form         // any but Signed
	Field         string       // name of header, cookie or parameter, decoded; JSON: the pointer
	Username      string       // Basic; "": the secret is "user:password"
	Prefix        string       // Header, Path: written before the secret, with its space if any
	Value         secret.Value // of Header it may be in Parts
	Parts         []Part       // Header: text and secrets that make the value together
	Segment       int          // Path: which, from 1
	Placeholder   string       // Placeholder: what the workload holds
	In            Places       // Placeholder: where it may stand
}

// Part is a piece of a template: text, or a secret with a name.
type Part struct {
	Text          string
	Name, Version string
	Value         secret.Value
}

// Plan is what a route injects. It is immutable, and may be used by several
// goroutines.
type Plan struct {
	fields  []rendered // name and value, ready to be written
	queries []rendered // value is "name=value", escaped
	cookies []rendered // value is "name=value"

	segments  []pathSegment
	body      []bodyField
	swaps     []swap
	swapsBody bool // one of them does

	signers []Signer
	seen    *replay.Cache // nil: workloads may send a signature of theirs again
	realm   string        // in seen
	slots   slots         // folded names of every field that is written
	names   []string      // decoded names of every parameter that is written
	uses    []Use

	injected []Injected
	pairs    []Injected
	key      string
}

type rendered struct {
	name  string
	value secret.Value
}

// Use is one credential as the record names it.
type Use struct {
	Name    string
	Version string
	Form    string
}

// NewPlan checks and renders credentials. The signers sign in their order, so each
// covers what those before it wrote; nil ones are left out. A value with a control
// byte gives secret.ErrControlByte; the sentinels of this package tell what else is
// wrong. No error holds a value.
func NewPlan(credentials []Credential, signers ...Signer) (*Plan, error) {
	p := &Plan{}
	for i := range credentials {
		c := &credentials[i]
		if err := p.add(c); err != nil {
			return nil, fmt.Errorf("credential %q: %w", c.Name, err)
		}
	}
	for _, s := range signers {
		if s == nil {
			continue
		}
		if err := p.addSigner(s); err != nil {
			return nil, fmt.Errorf("signing key %q: %w", s.Use().Name, err)
		}
	}
	if p.edits() {
		p.dropDigests()
	}
	p.key = joinUses(p.allUses())
	return p, nil
}

// dropDigests strips what tells of the content that the workload sent.
func (p *Plan) dropDigests() {
	for _, name := range digests {
		if !slices.Contains(p.slots, name) {
			p.slots = append(p.slots, name)
		}
	}
}

// allUses are those of every request, and those that it may ask for.
func (p *Plan) allUses() []Use {
	uses := slices.Clone(p.uses)
	for i := range p.swaps {
		uses = append(uses, p.swaps[i].use)
	}
	return uses
}

// Empty reports whether there is nothing to inject. A nil Plan is empty.
func (p *Plan) Empty() bool { return p == nil || len(p.uses)+len(p.swaps) == 0 }

// Key names the credentials and their versions; it is upstream.Key.Credentials
// of every connection that they may be sent on. "" for an empty plan.
func (p *Plan) Key() string {
	if p == nil {
		return ""
	}
	return p.key
}

// Uses lists what Apply will use. The caller must not change it.
func (p *Plan) Uses() []Use {
	if p == nil {
		return nil
	}
	return p.uses
}

// Owns reports whether the plan writes the field of this name, in any spelling.
// A trailer field that it owns must not be forwarded.
func (p *Plan) Owns(name []byte) bool { return p != nil && has(p.slots, name) }

// OwnsString is Owns for a string.
func (p *Plan) OwnsString(name string) bool { return p != nil && has(p.slots, name) }

func (p *Plan) add(c *Credential) error {
	parts := c.Parts
	if parts == nil {
		parts = []Part{{Name: c.Name, Version: c.Version, Value: c.Value}}
	}
	value, err := join(parts)
	if err != nil {
		return err
	}
	c.Value = value
	if c.Form == Placeholder {
		return p.addSwap(c)
	}
	p.pairs = append(p.pairs, c.pairs()...)
	for _, part := range parts {
		if !part.Value.IsZero() {
			p.uses = append(p.uses, Use{part.Name, part.Version, c.Form.String()})
			p.injected = append(p.injected, Injected{Name: part.Name, Value: part.Value})
		}
	}
	switch c.Form {
	case Query:
		return p.addQuery(c)
	case Cookie:
		return p.addCookie(c)
	case Path:
		return p.addPath(c)
	case JSON, FormField:
		return p.addBody(c)
	}
	return p.addField(c)
}

// join puts the pieces of a value together.
func join(parts []Part) (secret.Value, error) {
	var b []byte
	for _, part := range parts {
		if part.Value.IsZero() && part.Text == "" {
			return secret.Value{}, ErrEmpty
		}
		if err := part.Value.FieldSafe(); err != nil {
			return secret.Value{}, err
		}
		if !printable(part.Text) {
			return secret.Value{}, fmt.Errorf("template has a control byte: %w", ErrValue)
		}
		b = append(append(b, part.Text...), part.Value.Reveal()...)
	}
	return secret.New(b), nil
}

func (p *Plan) addField(c *Credential) error {
	name, value, err := c.render()
	if err != nil {
		return err
	}
	p.fields = append(p.fields, rendered{name, value})
	return p.take(name)
}

func (p *Plan) addQuery(c *Credential) error {
	if c.Field == "" {
		return fmt.Errorf("query parameter without a name: %w", ErrField)
	}
	if slices.Contains(p.names, c.Field) {
		return fmt.Errorf("query parameter %s: %w", c.Field, ErrSlotTaken)
	}
	p.names = append(p.names, c.Field)
	b := append(escape(nil, []byte(c.Field)), '=')
	p.queries = append(p.queries, rendered{c.Field, secret.New(escape(b, c.Value.Reveal()))})
	return nil
}

func (p *Plan) addSigner(s Signer) error {
	if err := s.Check(); err != nil {
		return err
	}
	if len(p.signers) == mostSigners {
		return fmt.Errorf("over %d on one route: %w", mostSigners, ErrSlotTaken)
	}
	for _, name := range s.Fields() {
		if err := p.take(name); err != nil {
			return err
		}
	}
	p.signers = append(p.signers, s)
	p.uses = append(p.uses, s.Use())
	return nil
}

// take claims a field for one credential.
func (p *Plan) take(name string) error {
	slot := foldName(name)
	if slices.Contains(p.slots, slot) {
		return fmt.Errorf("field %s: %w", name, ErrSlotTaken)
	}
	p.slots = append(p.slots, slot)
	return nil
}

func joinUses(uses []Use) string {
	var b strings.Builder
	for i, u := range uses {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s:%q@%q", u.Form, u.Name, u.Version)
	}
	return b.String()
}
