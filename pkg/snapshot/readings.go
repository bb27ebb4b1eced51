package snapshot

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

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
	keys     map[string]bool          // which of the files have a private key
	taken    map[config.Material]reading
	warnings []string

	before map[config.Material]reading // in force until now: what cannot be used stays as it is here; nil: there is none
	looked map[config.Material]looked  // at what there is now, by who found out that something has changed
	held   []error                     // why something stays
}

type reading struct {
	value   secret.Value
	version string
}

// looked is what came of a look.
type looked struct {
	reading
	err error
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
	r := readingsOf(vault.New(sources), map[string]*vault.Cached{})
	r.keys = make(map[string]bool)
	for i := range c.Routes {
		r.keys[c.Routes[i].Upstream.Key.File] = true
	}
	return r
}

func readingsOf(v *vault.Vault, files map[string]*vault.Cached) *Readings {
	return &Readings{vault: v, files: files, taken: map[config.Material]reading{}}
}

// Warnings are what Build found to warn of: secrets too short to be looked for in
// responses. They name the secrets, and where in the configuration.
func (r *Readings) Warnings() []string { return r.warnings }

// take returns the secret or file, as it was when it was first taken.
func (r *Readings) take(ctx context.Context, m config.Material) (reading, error) {
	if known, ok := r.taken[m]; ok {
		return known, nil
	}
	now, ok := r.looked[m]
	if !ok {
		now.reading, now.err = r.look(ctx, m)
	}
	if now.err == nil {
		r.taken[m] = now.reading
	}
	return now.reading, now.err
}

// look returns the secret or file as it is now. That is one stat where it has not
// changed. A certificate may lie in a file that all can read, so files without a key
// are not held to the rules of secrets here.
func (r *Readings) look(ctx context.Context, m config.Material) (now reading, err error) {
	if m.Secret != "" {
		now.value, now.version, err = r.vault.Get(ctx, m.Secret)
		return now, err
	}
	file, ok := r.files[m.File]
	if !ok {
		file = vault.Remember(r.source(m.File))
		r.files[m.File] = file
	}
	now.value, now.version, err = file.Get(ctx)
	return now, err
}

func (r *Readings) source(path string) vault.Source {
	if r.keys[path] {
		return vault.Key{Path: path}
	}
	return vault.Public{Path: path}
}

// Renew looks at all that was taken, at the cost of one stat for each secret and file.
// If any of it is another now, next is what to build the next snapshot of, and else
// nil. The error says what can't be read, one line for all.
func (r *Readings) Renew(ctx context.Context) (next *Readings, err error) {
	next = readingsOf(r.vault, r.files)
	next.keys, next.before, next.looked = r.keys, r.taken, make(map[config.Material]looked, len(r.taken))
	changed := false
	var unread []error
	for _, m := range inOrder(r.taken) {
		var now looked
		now.reading, now.err = r.look(ctx, m)
		next.looked[m] = now
		if now.err != nil {
			unread = append(unread, now.err)
		} else if now.version != r.taken[m].version {
			changed = true
		}
	}
	if !changed {
		next = nil
	}
	return next, inOneLine(unread)
}

// inOrder has the same failures told in the same words each time.
func inOrder(taken map[config.Material]reading) []config.Material {
	return slices.SortedFunc(maps.Keys(taken), func(a, b config.Material) int {
		return cmp.Or(cmp.Compare(a.Secret, b.Secret), cmp.Compare(a.File, b.File))
	})
}

// hold has materials stay as they were before, for they cannot be read or make no
// plan, and reports whether that is another try. What belongs together stays together.
func (r *Readings) hold(materials []config.Material, why error) bool {
	another := false
	for _, m := range materials {
		before, ok := r.before[m]
		if now, taken := r.taken[m]; ok && (!taken || now.version != before.version) {
			r.taken[m], another = before, true
		}
	}
	if another {
		r.held = append(r.held, why)
	}
	return another
}

// Held says in one line what Build left as it was before, and why; nil: nothing.
func (r *Readings) Held() error { return inOneLine(r.held) }

// Renewed reports whether anything in r is another than before.
func (r *Readings) Renewed() bool {
	for m, now := range r.taken {
		if before, ok := r.before[m]; !ok || before.version != now.version {
			return true
		}
	}
	return false
}

// inOneLine joins errors for a log and for status.
func inOneLine(all []error) error {
	var joined error
	for _, err := range all {
		if joined == nil {
			joined = err
		} else {
			joined = fmt.Errorf("%w; %w", joined, err)
		}
	}
	return joined
}
