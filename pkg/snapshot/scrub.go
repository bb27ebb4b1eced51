package snapshot

import (
	"crypto/sha256"
	"fmt"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/httpsig"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/proxy"
	"github.com/outwarden/outwarden/pkg/scrub"
)

// scrubs compiles what a route looks for in responses: what it injects, and what it
// signs with.
func (b *builder) scrubs(r *config.Route, plan *inject.Plan) (proxy.Scrub, error) {
	if r.Scrub == config.ScrubOff {
		return proxy.Scrub{}, nil
	}
	var secrets []scrub.Secret
	for _, i := range plan.Injected() {
		secrets = append(secrets, scrub.Secret{Name: i.Name, Mark: i.Placeholder, Value: i.Value})
	}
	for _, name := range signedWith(r.Sign) {
		value, _, err := b.secret(name)
		if err != nil {
			return proxy.Scrub{}, err
		}
		secrets = append(secrets, scrub.Secret{Name: name, Value: value})
	}
	filter, short := b.filter(secrets)
	for _, name := range short {
		b.readings.warnings = append(b.readings.warnings, fmt.Sprintf(
			"%s: route %q: secret %q has less than %d bytes, so responses are not scrubbed of it", r.Position, r.Name, name, scrub.MinLength))
	}
	return proxy.Scrub{Filter: filter, Alert: r.Scrub == config.ScrubAlert}, nil
}

// filter compiles secrets, once for all routes that have the same.
func (b *builder) filter(secrets []scrub.Secret) (*scrub.Filter, []string) {
	h := sha256.New()
	for _, s := range secrets {
		fmt.Fprintf(h, "%q %q %d ", s.Name, s.Mark, s.Value.Len())
		h.Write(s.Value.Reveal())
	}
	key := [sha256.Size]byte(h.Sum(nil))
	known, ok := b.filters[key]
	if !ok {
		known.filter, known.short = scrub.New(secrets)
		b.filters[key] = known
	}
	return known.filter, known.short
}

// compiled is what scrub.New has made.
type compiled struct {
	filter *scrub.Filter
	short  []string
}

// signedWith names the secrets of signatures that could come back: session tokens,
// which are sent, and shared keys, which the API has too. Private keys it has not. An
// access key id is an identifier, wherever it is kept: it stands in the trail too.
func signedWith(s *config.Sign) (names []string) {
	if s == nil {
		return nil
	}
	if s.HMAC != nil {
		names = append(names, s.HMAC.Keys...)
	}
	if s.HTTPSig != nil && httpsig.Algorithm(s.HTTPSig.Algorithm) == httpsig.HMACSHA256 {
		names = append(names, s.HTTPSig.Secret)
	}
	for i := range s.SigV4 {
		names = append(names, s.SigV4[i].Secret)
		if token := s.SigV4[i].SessionToken; token != "" {
			names = append(names, token)
		}
	}
	return names
}
