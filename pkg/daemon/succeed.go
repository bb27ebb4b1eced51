package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/handover"
	"github.com/outwarden/outwarden/pkg/replay"
)

// terms are ours in a hand-over.
func (d *Daemon) terms() (*handover.Terms, error) {
	t := d.termsOf(d.atStart)
	var err error
	t.Cgroup, err = ownCgroup()
	return t, err
}

// termsOf are those that a configuration says.
func (d *Daemon) termsOf(c *config.Config) *handover.Terms {
	return &handover.Terms{
		Version: d.o.Version, StateDir: c.StateDir, PinDir: pinDir(c, d.o.Ephemeral), Mark: c.Capture.Mark, Listen: c.Capture.Listen,
		Fail: word(c.Capture.FailOpen, "open", "closed"), Raw: word(c.Capture.AllowRaw, "record", "refuse"),
		Backend: string(c.Capture.Backend), RedirectMark: c.Capture.RedirectMark,
	}
}

// word is what the configuration calls a switch that is on or off.
func word(is bool, on, off string) string {
	if is {
		return on
	}
	return off
}

// ownCgroup is this process's place in the cgroup2 hierarchy.
func ownCgroup() (string, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSpace(path), nil
		}
	}
	return "", errors.Join(err, errors.New("no cgroup2 in /proc/self/cgroup"))
}

// inherit takes what the service manager kept for us and, to take over, asks the
// daemon that runs for what it has. Where none runs, this is a start like any
// other.
func (d *Daemon) inherit(context.Context) error {
	d.later(d.inherited.Close)
	if err := d.inherited.TakeStored(); err != nil {
		return err
	}
	if !d.o.Takeover || d.o.Ephemeral {
		return nil
	}
	ours, err := d.terms()
	if err == nil {
		d.predecessor, err = handover.Meet(handover.Path(d.atStart.RunDir), ours, &d.inherited)
	}
	if err = d.unlessGone(err); err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	if d.predecessor != nil {
		d.later(d.predecessor.Close)
	}
	return nil
}

// relieve asks the daemon before us to leave its duties. One that ends now has left
// them too; if it has not, it holds the trail, and we don't get it.
func (d *Daemon) relieve(context.Context) error {
	if d.predecessor == nil {
		return nil
	}
	return d.unlessGone(d.predecessor.Ready())
}

// confirm tells that we have them. From then on the daemon before us only drains.
func (d *Daemon) confirm(context.Context) error {
	if d.predecessor == nil {
		return nil
	}
	if err := d.unlessGone(d.predecessor.Serving()); err != nil {
		return err
	}
	d.report("leave our pid in the lock", sign(d.lock)) // nobody goes on in our stead any more
	return nil
}

// unlessGone lets us go on without the daemon before us, which owes us nothing once
// it is gone.
func (d *Daemon) unlessGone(err error) error {
	if errors.Is(err, handover.ErrGone) {
		d.o.Log.WithError(err).Warn("we go on in its place")
		return nil
	}
	return err
}

// apologize tells the daemon that we were to relieve why it has to go on.
func (d *Daemon) apologize(err error) {
	if d.predecessor != nil {
		d.predecessor.Fail(err)
	}
}

// answer answers what the daemon before us has to ask while it drains, until it is
// gone.
func (d *Daemon) answer() {
	d.report("the daemon before us", d.predecessor.Answer(keeper{&d.records, d}))
}

// keeper is our trail, and the signatures that we have seen, for the daemon before
// us.
type keeper struct {
	handover.Trail
	d *Daemon
}

func (k keeper) Accept(m replay.Message, at, now time.Time) error {
	seen := k.d.signing.Seen.Load()
	if seen == nil { // routes refuse no replays any more
		return nil
	}
	return seen.Accept(m, at, now)
}
