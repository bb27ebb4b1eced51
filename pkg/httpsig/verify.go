package httpsig

import (
	"fmt"
	"time"

	"github.com/dunglas/httpsfv"
)

// Policy is what a signature must be beyond valid. The zero Policy asks for
// nothing.
type Policy struct {
	Required []Component // must be covered
	Tag      string      // "" = any
	// MaxAge is how old created may be; 0: created is not asked for.
	MaxAge time.Duration
	Skew   time.Duration // how far the signer's clock may be ahead
	Nonce  bool          // there must be one
}

// Verified is a signature that holds.
type Verified struct {
	Label      string
	Params     Params
	Components []Component
	Key        *Key
	Signature  []byte // as it came
	// Canonical is the signature in the one form that all its spellings and, with
	// ECDSA, its twin have: for a replay cache, together with the key's id.
	Canonical []byte
}

// Labels lists the signatures of m in their order, ErrMalformed if a field can't
// be read.
func Labels(m *Message) ([]string, error) {
	dict, err := inputs(m)
	if err != nil {
		return nil, err
	}
	return dict.Names(), nil
}

func inputs(m *Message) (*httpsfv.Dictionary, error) {
	dict, err := httpsfv.UnmarshalDictionary(lines(m.Fields, "signature-input"))
	if err != nil {
		return nil, fmt.Errorf("%w: Signature-Input", ErrMalformed)
	}
	return dict, nil
}

// Verify checks one signature of m (RFC 9421 section 3.2). label "" takes the
// only signature, or the only one with p.Tag. keys finds the key by what the
// signature says of it; its error is returned as it is, and a nil key is
// ErrMismatch. Other errors: ErrUnsigned, ErrMalformed, ErrComponent, ErrKey (the
// signature names another algorithm than the key's), ErrMismatch, ErrPolicy,
// ErrEarly, ErrExpired.
func Verify(m *Message, label string, keys func(Params) (*Key, error), p Policy, now time.Time) (Verified, error) {
	dict, err := inputs(m)
	if err != nil {
		return Verified{}, err
	}
	label, in, err := pick(dict, label, p.Tag)
	if err != nil {
		return Verified{}, err
	}
	signature, err := signatureOf(m, label)
	if err != nil {
		return Verified{}, err
	}
	key, err := keys(in.params)
	switch {
	case err != nil:
		return Verified{}, err
	case key == nil:
		return Verified{}, ErrMismatch
	case in.params.Alg != "" && in.params.Alg != string(key.alg):
		return Verified{}, fmt.Errorf("%w: alg %q", ErrKey, in.params.Alg)
	}
	base, err := in.base(m)
	if err != nil {
		return Verified{}, err
	}
	if !key.verify(base, signature) {
		return Verified{}, ErrMismatch
	}
	if err := p.check(&in, now); err != nil {
		return Verified{}, err
	}
	return Verified{label, in.params, in.components, key, signature, key.canonical(signature)}, nil
}

// pick chooses the signature's input.
func pick(dict *httpsfv.Dictionary, label, tag string) (string, input, error) {
	var found input
	name := ""
	for _, candidate := range dict.Names() {
		if label != "" && candidate != label {
			continue
		}
		m, _ := dict.Get(candidate)
		if tag != "" && tagOf(m) != tag {
			continue // somebody else's, which we need not understand
		}
		in, err := parseInput(m)
		if err != nil {
			return "", input{}, err
		}
		if name != "" {
			return "", input{}, fmt.Errorf("%w: several signatures and no label to choose by", ErrMalformed)
		}
		name, found = candidate, in
	}
	if name == "" {
		return "", input{}, ErrUnsigned
	}
	return name, found, nil
}

// tagOf is the tag of a signature's input, "" if it has none.
func tagOf(m httpsfv.Member) string {
	list, ok := m.(httpsfv.InnerList)
	if !ok {
		return ""
	}
	value, _ := list.Params.Get("tag")
	tag, _ := value.(string)
	return tag
}

func signatureOf(m *Message, label string) ([]byte, error) {
	dict, err := httpsfv.UnmarshalDictionary(lines(m.Fields, "signature"))
	if err != nil {
		return nil, fmt.Errorf("%w: Signature", ErrMalformed)
	}
	member, ok := dict.Get(label)
	if !ok {
		return nil, ErrUnsigned
	}
	item, _ := member.(httpsfv.Item)
	b, ok := item.Value.([]byte)
	if !ok {
		return nil, fmt.Errorf("%w: a signature is a byte sequence", ErrMalformed)
	}
	return b, nil
}

func (p *Policy) check(in *input, now time.Time) error {
	covered := map[string]bool{}
	for i := range in.components {
		covered[in.components[i].identity()] = true
	}
	for i := range p.Required {
		if !covered[p.Required[i].identity()] {
			return fmt.Errorf("%w: it does not cover %s", ErrPolicy, p.Required[i].text)
		}
	}
	a := &in.params
	switch {
	case p.Nonce && a.Nonce == "":
		return fmt.Errorf("%w: no nonce", ErrPolicy)
	case p.MaxAge > 0 && a.Created.IsZero():
		return fmt.Errorf("%w: no created", ErrPolicy)
	case !a.Created.IsZero() && a.Created.After(now.Add(p.Skew)):
		return ErrEarly
	case !a.Expires.IsZero() && !now.Before(a.Expires), p.MaxAge > 0 && now.After(a.Created.Add(p.MaxAge)):
		return ErrExpired
	}
	return nil
}
