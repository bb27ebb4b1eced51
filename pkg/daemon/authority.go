package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
	permitted []string // guarded by Daemon.mu
}

func (l *leaves) get() *authority.Authority { return l.current.Load() }

// Certificate mints, or finds, a leaf.
func (l *leaves) Certificate(name string) (*tls.Certificate, error) {
	return l.get().Certificate(name)
}

func (l *leaves) issued(chain []*x509.Certificate) bool { return l.get().Issued(chain) }

func (d *Daemon) openAuthority(context.Context) error {
	return d.leaves.open(d.loaded.config)
}

func (l *leaves) open(c *config.Config) error {
	permitted := permittedNames(c)
	a, err := authority.Open(filepath.Join(c.StateDir, "authority"), authority.Options{Permitted: permitted, RenewExpired: true})
	if err != nil {
		return err
	}
	l.current.Store(a)
	l.permitted = permitted
	return nil
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
