package daemon

import (
	"context"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/secret"
	"github.com/outwarden/outwarden/pkg/vault"
)

// readings are the secrets and files that a snapshot is made of. Each is read
// once, however many routes name it, so that all routes agree on it.
type readings struct {
	vault *vault.Vault
	files map[string]*vault.Cached // certificates and keys, by path
	taken map[config.Material]reading
	short []string // what there is to warn of: secrets too short to be looked for in responses
}

type reading struct {
	value   secret.Value
	version string
}

// newReadings gives names to the sources of a configuration.
func newReadings(c *config.Config) *readings {
	sources := make(map[string]vault.Source, len(c.Secrets))
	for name, s := range c.Secrets {
		switch {
		case s.Systemd != "":
			sources[name] = vault.SystemdCredential{Name: s.Systemd}
		case s.SPIFFE.Socket != "":
			sources[name] = &vault.SPIFFE{
				Socket: s.SPIFFE.Socket, Kind: vault.SVID(s.SPIFFE.Type), ID: s.SPIFFE.ID, Audience: s.SPIFFE.Audience,
			}
		default:
			sources[name] = vault.File{Path: s.File}
		}
	}
	return readingsOf(vault.New(sources), map[string]*vault.Cached{})
}

func readingsOf(v *vault.Vault, files map[string]*vault.Cached) *readings {
	return &readings{vault: v, files: files, taken: map[config.Material]reading{}}
}

// again has the same sources, with what they remember, and has taken nothing.
func (r *readings) again() *readings { return readingsOf(r.vault, r.files) }

// take returns the secret or file, as it was when it was first taken.
func (r *readings) take(ctx context.Context, m config.Material) (reading, error) {
	if known, ok := r.taken[m]; ok {
		return known, nil
	}
	now, err := r.look(ctx, m)
	if err == nil {
		r.taken[m] = now
	}
	return now, err
}

// look returns the secret or file as it is now. That is one stat where it has not
// changed. A certificate may lie in a file that all can read, so files are not
// held to the rules of secrets here.
func (r *readings) look(ctx context.Context, m config.Material) (now reading, err error) {
	if m.Secret != "" {
		now.value, now.version, err = r.vault.Get(ctx, m.Secret)
		return now, err
	}
	file, ok := r.files[m.File]
	if !ok {
		file = vault.Remember(vault.Public{Path: m.File})
		r.files[m.File] = file
	}
	now.value, now.version, err = file.Get(ctx)
	return now, err
}

// changed reports whether anything that was taken is another now.
func (r *readings) changed(ctx context.Context) (bool, error) {
	for m, then := range r.taken {
		now, err := r.look(ctx, m)
		if err != nil {
			return false, err
		}
		if now.version != then.version {
			return true, nil
		}
	}
	return false, nil
}
