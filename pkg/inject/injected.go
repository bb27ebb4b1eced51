package inject

import (
	"slices"

	"github.com/outwarden/outwarden/pkg/secret"
)

// Injected lists the values that go out under the plan, for who looks for them in
// responses. A credential may have several: a short password is still recognised in
// the pair that it is sent in.
func (p *Plan) Injected() []Injected {
	if p == nil {
		return nil
	}
	all := slices.Concat(p.injected, p.pairs)
	for i := range p.swaps {
		all = append(all, p.swaps[i].injected())
	}
	return all
}

// pairs are the "user:password" of a credential whose secret is the password alone.
func (c *Credential) pairs() []Injected {
	if c.Form != Basic || c.Username == "" {
		return nil
	}
	pair := append([]byte(c.Username+":"), c.Value.Reveal()...)
	return []Injected{{Name: c.Name, Value: secret.New(pair)}}
}
