package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"syscall"

	"github.com/outwarden/outwarden/pkg/control"
)

// routes is how many the product has, unless the workload is about them.
const routes = 100

// others is how many routes stand before the one that matches, and that for
// passthrough.
func (w *workload) others() int {
	if w.routes > 0 {
		return w.routes - 2
	}
	return routes - 2
}

// outwarden is the product as a user runs it: captured by the kernel, the caller
// known by its executable and user, a hundred routes, audit on.
type outwarden struct{}

func (outwarden) name() string       { return product }
func (outwarden) local() bool        { return false }
func (outwarden) does(workload) bool { return true }

func (o outwarden) command(w *world, work workload) ([]string, error) {
	if err := os.WriteFile(w.path("bearer"), []byte(bearer), 0o600); err != nil {
		return nil, err
	}
	_, err := w.render("outwarden.yaml", work)
	return []string{w.plan.outwarden, "daemon", "--config", o.config(w)}, err
}

func (outwarden) config(w *world) string { return w.path("outwarden.yaml") }

func numbers(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func (outwarden) roots(w *world) string { return w.path("run", "trust", "root.pem") }

func (o outwarden) account(ctx context.Context, b *bench) (*account, error) {
	c := exec.CommandContext(ctx, b.plan.outwarden, "status", "--config", o.config(b.world), "-o", "json")
	out, err := c.Output()
	if err != nil {
		return nil, err
	}
	var s control.Status
	if err := json.Unmarshal(out, &s); err != nil {
		return nil, err
	}
	return &account{
		Requests: s.Flows.Requests, Credentialed: s.Flows.Credentialed, Refused: s.Flows.Refused,
		Unattributed: s.Flows.Unattributed, Passed: s.Flows.Passed,
		Dials: s.Upstream.Dials, Records: s.Audit.Seq, Lost: s.Audit.Lost,
	}, nil
}

// end stops the daemon in order, takes the hooks out of the kernel and forgets
// the state.
func (o outwarden) end(b *bench) error {
	stopped := b.proxy.empty(syscall.SIGTERM)
	out, err := exec.Command(b.plan.outwarden, "detach", "--config", o.config(b.world)).CombinedOutput()
	if err != nil {
		err = errors.New("detach: " + tail(out))
	}
	return errors.Join(stopped, err, os.RemoveAll(b.path("state")), os.RemoveAll(b.path("run")))
}
