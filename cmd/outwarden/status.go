package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/outwarden/outwarden/pkg/control"
	"github.com/outwarden/outwarden/pkg/daemon"
)

func newStatusCmd(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "How the daemon is: scope, flows, trail, losses",
		Example: "  outwarden status\n  outwarden status -o json | jq .flows",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := e.client()
			if err != nil {
				return err
			}
			s, err := client.Status(cmd.Context())
			if err != nil {
				return noDaemon(err)
			}
			if e.json() {
				return writeJSON(e.stdout, s)
			}
			return printStatus(e, s)
		},
	}
}

func newReloadCmd(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "reload",
		Short:   "Load the configuration again; if it can't be used, the old one stays",
		Example: "  outwarden check && outwarden reload",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := e.client()
			if err != nil {
				return err
			}
			r, err := client.Reload(cmd.Context())
			if err != nil {
				return noDaemon(err)
			}
			if e.json() {
				return writeJSON(e.stdout, r)
			}
			for _, w := range r.Warnings {
				fmt.Fprintf(e.stderr, "outwarden: warning: %s\n", w)
			}
			fmt.Fprintf(e.stdout, "reloaded: %s in force\n", count(r.Routes, "route"))
			return nil
		},
	}
}

func (e *env) client() (*control.Client, error) {
	cfg, err := e.loadPlaces()
	if err != nil {
		return nil, err
	}
	return control.NewClient(daemon.SocketPath(cfg)), nil
}

func noDaemon(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return hinted(err, "root alone may ask: sudo outwarden ...")
	}
	if !errors.Is(err, control.ErrNoDaemon) {
		return err
	}
	return hinted(err, "start one with `outwarden daemon` or `systemctl start outwarden`; `outwarden run` brings its own")
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func printStatus(e *env, s *control.Status) error {
	p := painter{e.colour()}
	health, colour := "serving", green
	if !s.Capture.Ready || s.Config.LastError != "" || s.Config.SecretError != "" || s.Audit.Lost+s.Audit.SyncFails > 0 ||
		s.Capture.Table != nil && !s.Capture.Table.Intact {
		health, colour = "serving, with a fault", red
	}
	fmt.Fprintf(e.stdout, "%s outwarden %s, %s for %s (pid %d)\n", p.in(colour, "●"), s.Version, health,
		time.Since(s.Since).Round(time.Second), s.PID)
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("config", "%s, %s, loaded %s", orNone(s.Config.Path, "defaults"), count(s.Config.Routes, "route"), s.Config.Loaded.Format(time.DateTime))
	if s.Config.LastError != "" {
		row("", "%s", p.in(red, "newest reload failed: "+s.Config.LastError))
	}
	if s.Config.SecretError != "" {
		row("", "%s", p.in(red, "a secret can't be read: "+s.Config.SecretError))
	}
	row("capture", "%s, fail %s, ports %s", s.Capture.Backend, s.Capture.Fail, joinPorts(s.Capture.Ports))
	if s.Capture.Fault != "" {
		row("", "%s", p.in(red, "not in force: "+s.Capture.Fault))
	}
	if t := s.Capture.Table; t != nil {
		row("nftables", "%s", tableText(p, t))
	}
	for _, guests := range s.Capture.Guests {
		row("guests", "%s", guests)
	}
	for _, scope := range s.Capture.Scopes {
		row("scope", "%s", scope)
	}
	if s.Capture.Others > 0 {
		row("", "also in %s", count(s.Capture.Others, "other network namespace"))
	}
	f := s.Flows
	row("flows", "%d open, %d accepted: %d intercepted, %d passed, %d denied, %d unattributed, %d over the limit",
		f.Open, f.Accepted, f.Intercepted, f.Passed, f.Denied, f.Unattributed, f.Limited)
	row("requests", "%d, %d with a credential, %d refused", f.Requests, f.Credentialed, f.Refused)
	u := s.Upstream
	row("upstream", "%d idle, %d dialled, %d reused, %d failed", u.Idle, u.Dials, u.Reuses, u.Failures)
	row("trail", "%s, %s, %d lost", s.Audit.Dir, count(int(s.Audit.Seq), "record"), s.Audit.Lost)
	if s.Audit.Fault != "" {
		row("", "%s", p.in(red, "no record can be written until a restart: "+s.Audit.Fault))
	}
	row("authority", "%s..., until %s", s.Authority.SHA256[:min(16, len(s.Authority.SHA256))], s.Authority.NotAfter.Format(time.DateOnly))
	for _, name := range slices.Sorted(maps.Keys(s.Kernel)) {
		if n := s.Kernel[name]; n > 0 {
			row("kernel", "%s %d", name, n)
		}
	}
	return w.Flush()
}

// tableText tells how our nftables table is.
func tableText(p painter, t *control.TableStatus) string {
	text := "table " + t.Name
	switch {
	case t.Error != "":
		text += ", " + p.in(red, "not in place: "+t.Error)
	case !t.Intact:
		text += ", " + p.in(red, "changed by somebody else")
	}
	if t.Restored > 0 {
		text += fmt.Sprintf(", put back %s", count(int(t.Restored), "time"))
	}
	return text
}

func orNone(s, none string) string {
	if s == "" {
		return none
	}
	return s
}

func joinPorts(ports []uint16) string { return strings.Trim(fmt.Sprint(ports), "[]") }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
