package daemon

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/proxy"
	"github.com/outwarden/outwarden/pkg/replay"
	"github.com/outwarden/outwarden/pkg/snapshot"
)

// Signatures of workloads are remembered for as long as AWS takes them for fresh. One
// route may have half of the room.
const (
	replayWindow   = 15 * time.Minute
	replayCapacity = 1 << 19
)

// buildSnapshot makes what the proxy works with of a configuration.
func (d *Daemon) buildSnapshot(ctx context.Context, c *config.Config, r *snapshot.Readings) (*proxy.Snapshot, error) {
	if err := d.rememberReplays(c); err != nil {
		return nil, err
	}
	return snapshot.Build(ctx, c, r, d.signing, d.upstreams)
}

// rememberReplays opens the journal of the workloads' own signatures where a route
// refuses replays. It is one for the daemon's life, so that what was seen stays known
// over reloads.
func (d *Daemon) rememberReplays(c *config.Config) error {
	refuses := slices.ContainsFunc(c.Routes, func(r config.Route) bool { return r.Sign != nil && r.Sign.RefuseReplays })
	if !refuses || d.signing.Seen.Load() != nil {
		return nil
	}
	open := replay.Open
	if d.predecessor != nil && !d.started {
		open = replay.Prepare // it has the journal
	}
	seen, err := open(replay.Options{
		Path: filepath.Join(c.StateDir, "replays"), Window: replayWindow, Capacity: replayCapacity, Fair: true,
	})
	if err != nil {
		return err
	}
	d.signing.Seen.Store(seen)
	d.tellDamage(seen)
	return nil
}

// tellDamage says why what workloads sign may be refused though it is new.
func (d *Daemon) tellDamage(seen *replay.Cache) {
	if err := seen.Damage(); err != nil {
		d.o.Log.WithError(err).Error("what the workloads signed until now is refused where a route refuses replays: the journal of it was put aside")
	}
	if until := seen.SetBack(time.Now()); !until.IsZero() {
		d.o.Log.WithField("until", until.UTC().Format(time.RFC3339)).Error(
			"the clock was set back, so where a route refuses replays what workloads sign is refused until then; to begin anew: stop, remove replays.* in the state directory, start")
	}
}

// openReplays goes on with the signatures that the daemon before us has seen.
func (d *Daemon) openReplays(context.Context) error {
	if seen := d.signing.Seen.Load(); d.predecessor != nil && seen != nil {
		err := seen.Resume()
		d.tellDamage(seen)
		return err
	}
	return nil
}

// closeReplays comes after the drain, whenever the cache was opened.
func (d *Daemon) closeReplays() {
	d.changing.Lock() // a reload that is under way may open it
	defer d.changing.Unlock()
	if seen := d.signing.Seen.Load(); seen != nil {
		d.report("replay cache", seen.Close())
	}
}
