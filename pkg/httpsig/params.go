package httpsig

import (
	"fmt"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// Params are the parameters of a signature (RFC 9421 section 2.3). A zero time
// and an empty string are left out.
type Params struct {
	Created, Expires time.Time // whole seconds
	Nonce            string
	Alg              string
	KeyID            string
	Tag              string
}

// input is the value of one member of Signature-Input.
type input struct {
	components []Component
	params     Params
	text       string // serialised: the value of @signature-params
}

// newInput orders the parameters created, expires, keyid, alg, nonce, tag, or as
// order says.
func newInput(components []Component, p Params, order []string) (input, error) {
	list := httpsfv.InnerList{Params: httpsfv.NewParams()}
	if err := unique(components); err != nil {
		return input{}, err
	}
	for _, c := range components {
		item, err := httpsfv.UnmarshalItem([]string{c.text})
		if err != nil {
			return input{}, fmt.Errorf("%w: zero component", ErrComponent)
		}
		list.Items = append(list.Items, item)
	}
	if order == nil {
		order = []string{"created", "expires", "keyid", "alg", "nonce", "tag"}
	}
	for _, name := range order {
		if v, ok := p.get(name); ok {
			list.Params.Add(name, v)
		}
	}
	text, err := httpsfv.Marshal(list)
	if err != nil {
		return input{}, fmt.Errorf("%w: a parameter is not ASCII", ErrMalformed)
	}
	return input{components, p, text}, nil
}

func (p *Params) get(name string) (any, bool) {
	switch name {
	case "created":
		return p.Created.Unix(), !p.Created.IsZero()
	case "expires":
		return p.Expires.Unix(), !p.Expires.IsZero()
	case "nonce":
		return p.Nonce, p.Nonce != ""
	case "alg":
		return p.Alg, p.Alg != ""
	case "keyid":
		return p.KeyID, p.KeyID != ""
	case "tag":
		return p.Tag, p.Tag != ""
	}
	return nil, false
}

// mostComponents is how many a signature that is verified may cover. Each is looked for
// among all fields, before anybody knows who signed.
const mostComponents = 64

// parseInput reads one member of Signature-Input. Parameters that this package
// does not know stay in the text, and so in the base.
func parseInput(m httpsfv.Member) (input, error) {
	list, ok := m.(httpsfv.InnerList)
	if !ok {
		return input{}, fmt.Errorf("%w: an input is no inner list", ErrMalformed)
	}
	if len(list.Items) > mostComponents {
		return input{}, fmt.Errorf("%w: over %d components", ErrMalformed, mostComponents)
	}
	var in input
	for _, item := range list.Items {
		c, err := newComponent(item)
		if err != nil {
			return input{}, err
		}
		in.components = append(in.components, c)
	}
	if err := unique(in.components); err != nil {
		return input{}, err
	}
	for _, name := range list.Params.Names() {
		v, _ := list.Params.Get(name)
		if !in.params.set(name, v) {
			return input{}, fmt.Errorf("%w: parameter %s", ErrMalformed, name)
		}
	}
	var err error
	if in.text, err = httpsfv.Marshal(list); err != nil {
		return input{}, fmt.Errorf("%w: input", ErrMalformed)
	}
	return in, nil
}

func (p *Params) set(name string, v any) bool {
	var ok bool
	var seconds int64
	switch name {
	case "created":
		seconds, ok = v.(int64)
		p.Created = time.Unix(seconds, 0).UTC()
	case "expires":
		seconds, ok = v.(int64)
		p.Expires = time.Unix(seconds, 0).UTC()
	case "nonce":
		p.Nonce, ok = v.(string)
	case "alg":
		p.Alg, ok = v.(string)
	case "keyid":
		p.KeyID, ok = v.(string)
	case "tag":
		p.Tag, ok = v.(string)
	default:
		return true
	}
	return ok
}

// base is the signature base (RFC 9421 section 2.5): LF between lines, none at
// the end.
func (in *input) base(m *Message) ([]byte, error) {
	var b strings.Builder
	for i := range in.components {
		c := &in.components[i]
		value, err := c.value(m)
		if err != nil {
			return nil, err
		}
		b.WriteString(c.text + ": " + value + "\n")
	}
	b.WriteString(`"@signature-params": ` + in.text)
	return []byte(b.String()), nil
}
