package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/proxy"
	"github.com/outwarden/outwarden/pkg/secret"
	"github.com/outwarden/outwarden/pkg/upstream"
)

// builder is one Build.
type builder struct {
	ctx      context.Context
	readings *Readings
	signing  *Signing
	filters  map[[sha256.Size]byte]compiled
	minter   *inject.Minter // nil until a route has a placeholder
	stateDir string
	together []config.Material // what the part that is being made is made of
}

// Build returns the snapshot of a configuration, made of what r takes. Its requests
// go out by upstreams. An error says where in the configuration, and no secret.
//
// Where r renews what is in force, a secret that cannot be read, or does not fit, stays
// as it was, with those that it belongs to, and keeps no other from being renewed.
func Build(ctx context.Context, c *config.Config, r *Readings, s *Signing, upstreams *upstream.Pool) (*proxy.Snapshot, error) {
	for {
		b := &builder{ctx: ctx, readings: r, signing: s, filters: map[[sha256.Size]byte]compiled{}, stateDir: c.StateDir}
		r.warnings = nil
		out, err := b.snapshot(c, upstreams)
		if err == nil || !r.hold(b.together, err) {
			return out, err
		}
	}
}

func (b *builder) snapshot(c *config.Config, upstreams *upstream.Pool) (*proxy.Snapshot, error) {
	out := &proxy.Snapshot{
		Policy: c.Policy(), BlindOK: c.Audit.AllowOnFailure, Upstream: inject.Over(upstreams), Plans: make([]proxy.Plan, len(c.Routes)),
	}
	for i := range c.Routes {
		b.together = nil
		plan, err := b.plan(&c.Routes[i])
		if err != nil {
			return nil, fmt.Errorf("%s: route %q: %w", c.Routes[i].Position, c.Routes[i].Name, err)
		}
		out.Plans[i] = plan
	}
	out.Placeholders = placeholders(out.Plans)
	return out, nil
}

// part makes a part of a plan whose secrets belong together: one credential, one
// signature, a certificate and its key. Where it fails, together has those alone.
func (b *builder) part(make func() error) error {
	before := b.together
	b.together = nil
	err := make()
	if err == nil {
		b.together = append(before, b.together...)
	}
	return err
}

func (b *builder) take(m config.Material) (reading, error) {
	b.together = append(b.together, m)
	return b.readings.take(b.ctx, m)
}

func (b *builder) plan(r *config.Route) (proxy.Plan, error) {
	plan := proxy.Plan{Hosts: r.To.Hosts, Cleartext: r.Cleartext, SignedBody: r.Limits.SignedBody, EditedBody: r.Limits.EditedBody}
	var err error
	if plan.Inject, err = b.inject(r); err != nil {
		return plan, err
	}
	if plan.Scrub, err = b.scrubs(r, plan.Inject); err != nil {
		return plan, err
	}
	plan.Upstream, err = b.profile(r)
	return plan, err
}

func (b *builder) inject(r *config.Route) (*inject.Plan, error) {
	credentials := make([]inject.Credential, len(r.Inject))
	for i := range r.Inject {
		if err := b.part(func() (err error) { credentials[i], err = b.credential(r, &r.Inject[i]); return err }); err != nil {
			return nil, err
		}
	}
	signers, err := b.signers(r.Sign)
	if err != nil {
		return nil, err
	}
	plan, err := inject.NewPlan(credentials, signers...)
	if err == nil && r.Sign != nil && r.Sign.RefuseReplays {
		plan.RefuseReplays(b.signing.Seen.Load(), r.Name)
	}
	return plan, err
}

func (b *builder) secret(name string) (secret.Value, string, error) {
	r, err := b.take(config.Material{Secret: name})
	return r.value, r.version, err
}

// profile is how a route reaches its origin; nil where it says nothing about it.
func (b *builder) profile(r *config.Route) (*upstream.Profile, error) {
	u := &r.Upstream
	if u.CA.IsZero() && u.Certificate.IsZero() && !u.EgressIP.IsValid() && !u.AllowPrivate {
		return nil, nil
	}
	p := &upstream.Profile{Name: r.Name, EgressIP: u.EgressIP, AllowPrivate: u.AllowPrivate}
	digest := sha256.New()
	fmt.Fprintln(digest, u.EgressIP, u.AllowPrivate)
	if !u.CA.IsZero() {
		if err := b.part(func() error { return b.verifiedBy(r, p, digest) }); err != nil {
			return nil, fmt.Errorf("upstream.ca: %w", err)
		}
	}
	if !u.Certificate.IsZero() {
		if err := b.part(func() (err error) { p.Certificate, err = b.keyPair(r); return err }); err != nil {
			return nil, fmt.Errorf("upstream.mtls: %w", err)
		}
		for _, der := range p.Certificate.Certificate {
			digest.Write(der)
		}
	}
	p.Version = hex.EncodeToString(digest.Sum(nil)[:8])
	return p, nil
}

func (b *builder) verifiedBy(r *config.Route, p *upstream.Profile, digest hash.Hash) error {
	roots, content, err := b.roots(r)
	p.Roots = roots
	digest.Write(content)
	return err
}

// material is PEM.
func (b *builder) material(m config.Material) (secret.Value, error) {
	r, err := b.take(m)
	return r.value, err
}
