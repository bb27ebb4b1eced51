package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/outwarden/outwarden/pkg/control"
	"github.com/outwarden/outwarden/pkg/handover"
)

// Upgrade starts our successor where we are, in our cgroup and under our service,
// and waits until it has taken over or ended.
func (d *Daemon) Upgrade(ctx context.Context) (*control.Upgraded, error) {
	if d.o.Ephemeral || len(d.o.Successor) == 0 {
		return nil, &control.Error{Status: http.StatusUnprocessableEntity, Message: "a daemon that `run` started has no successor", Tip: "it leaves with the last run"}
	}
	if !d.upgrading.TryLock() {
		return nil, &control.Error{Status: http.StatusConflict, Message: "an upgrade is under way"}
	}
	defer d.upgrading.Unlock()
	d.failHandover(nil)
	cmd := exec.Command(d.o.Successor[0], d.o.Successor[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr // not a pipe: it outlives us
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WATCHDOG_PID=") })
	ended, err := handover.StartSuccessor(cmd, d.manager() != "")
	if err != nil {
		return nil, fmt.Errorf("start the successor: %w", err)
	}
	select {
	case next := <-d.heirs:
		return &control.Upgraded{PID: next.PID, Version: next.Version, Before: d.o.Version}, nil
	case err := <-ended:
		return nil, d.explainEnd(err)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// explainEnd says why a successor ended before it served: in its own words or, where
// we ended it, in ours.
func (d *Daemon) explainEnd(ended error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, said := errors.AsType[handover.Words](ended); !said && d.handoverError != nil {
		ended = d.handoverError
	}
	return &control.Error{
		Status: http.StatusUnprocessableEntity, Message: fmt.Sprintf("the successor did not take over: %v", ended),
		Tip: "the daemon that runs goes on; the log of the service has the whole story",
	}
}

func (d *Daemon) failHandover(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.handoverError = err
}
