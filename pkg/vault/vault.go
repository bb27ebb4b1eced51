package vault

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/outwarden/outwarden/pkg/secret"
)

var (
	// ErrUnknown is returned for a name that no source stands behind.
	ErrUnknown = errors.New("no secret has this name")
	// ErrEmpty is returned for a source that has no bytes.
	ErrEmpty = errors.New("secret is empty")
	// ErrExposed is returned for a file that others may read or change.
	ErrExposed = errors.New("secret file is open to others")
	// ErrOpen is returned for a file that is no secret, but that everyone may change.
	ErrOpen = errors.New("file can be written by everyone")
	// ErrTooLarge is returned for a file of more than MaxSize bytes.
	ErrTooLarge = errors.New("secret file is too large")
)

// Source is one place that a secret is kept in. Its errors name the place and
// never hold what was read.
type Source interface {
	// Fetch reads the secret now.
	Fetch(ctx context.Context) (secret.Value, error)
}

// Stamped is a Source that can tell cheaply whether Fetch would read something
// new. A source without it is fetched at every Get.
type Stamped interface {
	Source
	// FetchStamped reads the secret and the stamp of what was read.
	FetchStamped(ctx context.Context) (secret.Value, Stamp, error)
	// Stamp looks only; equal stamps mean the same bytes.
	Stamp() (Stamp, error)
}

// Cached is one source and what was last read of it. It is safe for several
// goroutines.
type Cached struct {
	source Source

	mu      sync.Mutex
	value   secret.Value
	version string
	stamp   Stamp
	changes uint64 // counts readings whose stamp did not tell them apart
}

// Remember returns a Cached over s. Nothing is read before Get.
func Remember(s Source) *Cached { return &Cached{source: s} }

// Get returns the secret as it is now, and its version: a short id that changes
// when the bytes change and tells nothing about them. If the source can't be read
// the error is returned and no older value is used in its place.
func (c *Cached) Get(ctx context.Context) (value secret.Value, version string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refresh(ctx); err != nil {
		return secret.Value{}, "", err
	}
	return c.value, c.version, nil
}

// refresh reads the source unless its stamp says that nothing is new.
func (c *Cached) refresh(ctx context.Context) error {
	s, stamped := c.source.(Stamped)
	if !stamped {
		value, err := c.source.Fetch(ctx)
		return c.take(value, Stamp{}, err)
	}
	if c.stamp.settled {
		if now, err := s.Stamp(); err == nil && now.same(c.stamp) {
			return nil
		}
	}
	value, stamp, err := s.FetchStamped(ctx)
	return c.take(value, stamp, err)
}

// take stores a reading. A file that was only touched keeps its version, as does what
// could not be read for a while, so that no pooled connection is given up for it.
func (c *Cached) take(value secret.Value, stamp Stamp, err error) error {
	if err != nil {
		c.stamp.settled = false // it is read again, and what was read last is to compare with
		return err
	}
	if value.IsZero() {
		return c.take(value, stamp, ErrEmpty)
	}
	if c.version == "" || !value.Equal(c.value) {
		c.version = c.next(stamp)
	}
	c.value, c.stamp = value, stamp
	return nil
}

// next is the version of a reading with new bytes.
func (c *Cached) next(stamp Stamp) string {
	version := stamp.version()
	if !stamp.same(c.stamp) {
		return version
	}
	c.changes++
	return version + "." + strconv.FormatUint(c.changes, 10)
}

// Vault gives secrets by name. It is safe for several goroutines.
type Vault struct {
	entries map[string]*Cached // never changes after New
}

// New returns a Vault over these sources. Nothing is read before Get.
func New(sources map[string]Source) *Vault {
	v := &Vault{entries: make(map[string]*Cached, len(sources))}
	for name, s := range sources {
		v.entries[name] = Remember(s)
	}
	return v
}

// Get is Cached.Get of the secret of that name.
func (v *Vault) Get(ctx context.Context, name string) (value secret.Value, version string, err error) {
	c, ok := v.entries[name]
	if !ok {
		return secret.Value{}, "", fmt.Errorf("secret %q: %w", name, ErrUnknown)
	}
	if value, version, err = c.Get(ctx); err != nil {
		return secret.Value{}, "", fmt.Errorf("secret %q: %w", name, err)
	}
	return value, version, nil
}
