package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/control"
	"github.com/outwarden/outwarden/pkg/snapshot"
)

// secretsEvery is how often secrets are looked at for a change: a rotated one is
// in use this much later. Connections that have the old one are asked to end then.
const secretsEvery = 2 * time.Second

// secretsPatience is how long the look at all of them may take, so that an agent that
// does not answer for many of them holds up neither the files nor a reload.
const secretsPatience = 10 * time.Second

// reloadPatience is how long a reload may take, with one before it that it waits
// for: an agent that gives secrets may be slow with each.
const reloadPatience = 2 * time.Minute

// Reload loads the configuration again. On any error the old one stays.
func (d *Daemon) Reload(ctx context.Context) (*control.Reloaded, error) {
	d.changing.Lock()
	defer d.changing.Unlock()
	if d.leaving {
		return nil, errLeaving
	}
	next, err := d.reload(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.loaded.failed = err
	if err != nil {
		d.o.Log.WithError(err).Error("reload failed; the old configuration stays in force")
		return nil, err
	}
	d.loaded = *next
	d.o.Log.WithField("routes", len(next.config.Routes)).Info("configuration reloaded")
	return &control.Reloaded{Routes: len(next.config.Routes), Warnings: next.warnings}, nil
}

func (d *Daemon) reload(ctx context.Context) (*loaded, error) {
	cfg, warnings, err := config.Load(d.o.Config)
	if err != nil {
		return nil, err
	}
	if cfg.Blank && !d.loaded.config.Blank {
		return nil, &control.Error{Status: 422, Message: cfg.Files[0] + " is empty or gone, which would capture the whole host without a route", Tip: "if it is just being written, reload once it is; to start without one, restart"}
	}
	if err := d.fixed(d.loaded.config, cfg); err != nil {
		return nil, err
	}
	readings := snapshot.NewReadings(cfg)
	next, err := d.buildSnapshot(ctx, cfg, readings)
	if err != nil {
		return nil, err
	}
	resolver, err := newResolver(cfg, d.mark)
	if err != nil {
		return nil, err
	}
	if err := d.changeHost(cfg); err != nil {
		return nil, errors.Join(err, d.changeHost(d.loaded.config))
	}
	d.resolver.current.Store(resolver)
	d.proxy.SetSnapshot(next)
	d.host.look()
	d.upstreams.Retire()
	return &loaded{config: cfg, warnings: append(texts(warnings), readings.Warnings()...), readings: readings, at: time.Now()}, nil
}

// fixed refuses changes that only a restart can make: of what a successor cannot
// have otherwise either, and of what is set up once.
func (d *Daemon) fixed(old, next *config.Config) error {
	key, _, _ := d.termsOf(old).Differs(d.termsOf(next))
	switch {
	case key != "":
	case old.RunDir != next.RunDir:
		key = "run_dir"
	case old.Audit != next.Audit:
		key = "audit"
	case old.Drain != next.Drain:
		key = "drain"
	case old.Authority != next.Authority:
		key = "authority"
	default:
		return nil
	}
	return &control.Error{Status: 422, Message: fmt.Sprintf("%s has changed, which takes a restart", key), Tip: "systemctl restart outwarden; established flows drain first"}
}

// renewAuthority issues the root again where routes name other hosts now. The
// key stays, so workloads that run go on with the root they have.
func (d *Daemon) renewAuthority(c *config.Config) error {
	permitted := permittedNames(c)
	if (permitted == nil) == (d.leaves.permitted == nil) && slices.Equal(permitted, d.leaves.permitted) {
		return nil
	}
	if err := d.leaves.open(c); err != nil {
		return err
	}
	d.proxy.ForgetTickets()
	return d.spreadRoot()
}

// changeHost does what a configuration asks for outside of this process.
func (d *Daemon) changeHost(c *config.Config) error {
	d.existing.resets.Store(c.Capture.Reset)
	if err := d.capture.SetPorts(c.Capture.Ports); err != nil {
		return err
	}
	if err := d.changeTable(c); err != nil {
		return err
	}
	if err := d.scopes.configure(c); err != nil {
		return err
	}
	return d.renewAuthority(c)
}

func (d *Daemon) reloadBySignal(ctx context.Context) {
	defer d.aliveFor(reloadPatience)()
	d.notify(sd.SdNotifyReloading)
	_, _ = d.Reload(ctx) // logged, and shown by status
	d.notify(sd.SdNotifyReady)
}

// watchSecrets puts a secret that changed on disk into force. One that can't be read
// any more, or does not fit, stays as it is: what it was is still valid upstream or
// refused there, and the log says so. It keeps no other from being renewed.
func (d *Daemon) watchSecrets(ctx context.Context) {
	tick := time.NewTicker(secretsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.renewSecrets(ctx)
			d.renewTrust()
			d.renewHostRoots()
		}
	}
}

func (d *Daemon) renewSecrets(ctx context.Context) {
	d.changing.Lock()
	defer d.changing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, secretsPatience)
	defer cancel()
	changed, err := d.takeChanged(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil && (d.loaded.secrets == nil || d.loaded.secrets.Error() != err.Error()) {
		d.o.Log.WithError(err).Error("a secret can't be read or used; the one before stays in use")
	}
	d.loaded.secrets = err
	if changed {
		d.o.Log.Info("a secret has changed and is in use")
	}
}

// takeChanged builds the snapshot anew if anything in it has changed. A look that
// finds nothing costs one stat for each secret and file, whatever the routes. The error
// says what stays as it was.
func (d *Daemon) takeChanged(ctx context.Context) (bool, error) {
	readings, err := d.loaded.readings.Renew(ctx)
	if readings == nil {
		return false, err
	}
	next, err := d.buildSnapshot(ctx, d.loaded.config, readings)
	if err != nil || !readings.Renewed() {
		return false, errors.Join(err, readings.Held())
	}
	d.loaded.readings = readings
	d.proxy.Renew(next)
	d.upstreams.Retire()
	return true, readings.Held()
}
