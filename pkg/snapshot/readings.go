package snapshot

import (
	"context"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/secret"
	"github.com/outwarden/outwarden/pkg/vault"
)

// Readings are the secrets and files that a snapshot is made of. Each is read
// once, however many routes name it, so that all routes agree on it. They are for
// one goroutine at a time.
type Readings struct {
	vault    *vault.Vault
	files    map[string]*vault.Cached // certificates and keys, by path
	taken    map[config.Material]reading
	warnings []string
}

type reading struct {
	value   secret.Value
	version string
}

// NewReadings gives names to the sources of a configuration, and reads nothing yet.
func NewReadings(c *config.Config) *Readings {
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

func readingsOf(v *vault.Vault, files map[string]*vault.Cached) *Readings {
	return &Readings{vault: v, files: files, taken: map[config.Material]reading{}}
}

// Again has the same sources, with what they remember, and has taken nothing.
func (r *Readings) Again() *Readings { return readingsOf(r.vault, r.files) }

// Warnings are what Build found to warn of: secrets too short to be looked for in
// responses. They name the secrets, and where in the configuration.
func (r *Readings) Warnings() []string { return r.warnings }

// take returns the secret or file, as it was when it was first taken.
func (r *Readings) take(ctx context.Context, m config.Material) (reading, error) {
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
func (r *Readings) look(ctx context.Context, m config.Material) (now reading, err error) {
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

// Changed reports whether anything that was taken is another now. That costs one
// stat for each secret and file.
func (r *Readings) Changed(ctx context.Context) (bool, error) {
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
