package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/outwarden/outwarden/pkg/authority"
	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/policy"
)

// leaves is the authority in force; a reload may change what it may sign.
type leaves struct {
	current   atomic.Pointer[authority.Authority]
	permitted []string // guarded by Daemon.changing
}

func (l *leaves) get() *authority.Authority { return l.current.Load() }

// CertificateFor mints, or finds, a leaf.
func (l *leaves) CertificateFor(workload uint64, name string) (*tls.Certificate, error) {
	return l.get().CertificateFor(workload, name)
}

func (l *leaves) issued(chain []*x509.Certificate) bool { return l.get().Issued(chain) }

func (d *Daemon) openAuthority(context.Context) error {
	_, err := InspectAuthority(d.loaded.config)
	if err := d.leaves.open(d.loaded.config); err != nil {
		return err
	}
	if d.firstStart = errors.Is(err, authority.ErrNone); d.firstStart { // who expected another reads it here
		d.o.Log.WithField("sha256", d.authorityStatus().SHA256).Info("a new local authority was made")
	}
	return nil
}

// open reads the authority, which must be the one in force if there is one: workloads
// that run know no other.
func (l *leaves) open(c *config.Config) error {
	o, now := authorityOptions(c), l.get()
	o.Existing = now != nil
	a, err := authority.Open(authorityDir(c), o)
	switch {
	case now != nil && errors.Is(err, authority.ErrNone):
		return notOurs(c, "is gone")
	case err != nil:
		return err
	case now != nil && a.Generation() != now.Generation():
		return notOurs(c, "has another key")
	}
	l.current.Store(a)
	l.permitted = o.Permitted
	return nil
}

func notOurs(c *config.Config, problem string) error {
	return &authority.StateError{
		Path: authorityDir(c), Problem: problem + ", and the one in use goes on",
		Advice: "restore it from a backup; or restart the daemon, which begins with what is there and workloads that run do not know",
	}
}

func authorityDir(c *config.Config) string { return filepath.Join(c.StateDir, "authority") }

func authorityOptions(c *config.Config) authority.Options {
	return authority.Options{Permitted: permittedNames(c), RenewExpired: true, TPM: c.Authority.TPM}
}

// InspectAuthority tells of the authority of a configuration, whether a daemon
// runs or not. Where there is none it is authority.ErrNone.
func InspectAuthority(c *config.Config) (authority.Info, error) {
	return authority.Inspect(authorityDir(c))
}

// RotateAuthority gives the authority another key. A daemon that lives is
// ErrRunning: what it has in memory would go on with the old one.
func RotateAuthority(ctx context.Context, c *config.Config) (authority.Info, error) {
	unlock, err := alone(ctx, c)
	if err != nil {
		return authority.Info{}, err
	}
	defer unlock()
	if _, err := authority.Rotate(authorityDir(c), authorityOptions(c)); err != nil {
		return authority.Info{}, err
	}
	return InspectAuthority(c)
}

// RemoveAuthority deletes the authority and the trust stores that hold its root,
// and returns the paths. A daemon that lives is ErrRunning.
func RemoveAuthority(ctx context.Context, c *config.Config) ([]string, error) {
	unlock, err := alone(ctx, c)
	if err != nil {
		return nil, err
	}
	defer unlock()
	removed, err := authority.Remove(authorityDir(c))
	if err != nil {
		return removed, err
	}
	stores := trustDir(c)
	if _, err := os.Lstat(stores); err != nil {
		return removed, nil // none were made, or a reboot took them
	}
	if err := os.RemoveAll(stores); err != nil {
		return removed, err
	}
	return append(removed, stores), nil
}

func trustDir(c *config.Config) string { return filepath.Join(c.RunDir, "trust") }

// alone keeps daemons of a configuration from starting, until unlock.
func alone(ctx context.Context, c *config.Config) (unlock func(), err error) {
	if !isDir(c.RunDir) {
		return func() {}, nil
	}
	lock, err := lockFile(ctx, lockPath(c))
	if err != nil {
		return nil, err
	}
	return func() { _ = lock.Close() }, nil
}

// permittedNames are the hosts that routes intercept: the authority can't speak
// for any other. nil, where any host may be intercepted, leaves it unconstrained.
func permittedNames(c *config.Config) []string {
	if c.Default == policy.Intercept {
		return nil
	}
	names := []string{}
	for i := range c.Routes {
		if r := &c.Routes[i]; r.Action == policy.Intercept || len(r.To.Paths) > 0 || len(r.To.Methods) > 0 {
			if len(r.To.Hosts) == 0 {
				return nil
			}
			for _, h := range r.To.Hosts {
				names = append(names, h.String())
			}
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if slices.Contains(names, "*") {
		return nil
	}
	return names
}
