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

	"github.com/outwarden/outwarden/pkg/audit"
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
				fmt.Fprintf(e.stderr, "outwarden: warning: %s\n", printable(w))
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

// writeJSON prints a value. JSON may hold what a terminal acts on, beyond ASCII: it is
// escaped too, and means the same.
func writeJSON(w io.Writer, v any) error {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(w, printable(b.String()))
	return err
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
	t := statusTable{w, p}
	t.row("config", "%s, %s, loaded %s", orNone(s.Config.Path, "defaults"), count(s.Config.Routes, "route"), s.Config.Loaded.Local().Format(time.DateTime))
	t.fault("newest reload failed: ", s.Config.LastError)
	t.fault("a secret can't be read: ", s.Config.SecretError)
	t.row("capture", "%s, fail %s, ports %s", s.Capture.Backend, s.Capture.Fail, joinPorts(s.Capture.Ports))
	t.fault("not in force: ", s.Capture.Fault)
	if table := s.Capture.Table; table != nil {
		t.nftables(table)
	}
	for _, guests := range s.Capture.Guests {
		t.row("guests", "%s", guests)
	}
	for _, scope := range s.Capture.Scopes {
		t.row("scope", "%s", scope)
	}
	if s.Capture.Others > 0 {
		t.row("", "also in %s", count(s.Capture.Others, "other network namespace"))
	}
	f := s.Flows
	t.row("flows", "%d open, %d accepted: %d intercepted, %d passed, %d denied, %d unattributed, %d over the limit",
		f.Open, f.Accepted, f.Intercepted, f.Passed, f.Denied, f.Unattributed, f.Limited)
	t.row("requests", "%d, %d with a credential, %d refused", f.Requests, f.Credentialed, f.Refused)
	u := s.Upstream
	t.row("upstream", "%d idle, %d dialled, %d reused, %d failed", u.Idle, u.Dials, u.Reuses, u.Failures)
	t.row("trail", "%s, %s, %d lost", s.Audit.Dir, count(int(s.Audit.Seq), "record"), s.Audit.Lost)
	t.fault("no record can be written until a restart: ", s.Audit.Fault)
	t.row("authority", "%s..., until %s", s.Authority.SHA256[:min(16, len(s.Authority.SHA256))], s.Authority.NotAfter.Local().Format(time.DateOnly))
	for _, name := range slices.Sorted(maps.Keys(s.Kernel)) {
		if n := s.Kernel[name]; n > 0 {
			t.row("kernel", "%s %d", name, n)
		}
	}
	return w.Flush()
}

// statusTable prints names and values. Paths and errors hold names that others chose, who
// are not to add lines of their own to it either.
type statusTable struct {
	w     io.Writer
	paint painter
}

func (t statusTable) row(name, format string, args ...any) {
	fmt.Fprintf(t.w, "  %s\t%s\n", name, audit.Printable(fmt.Sprintf(format, args...)))
}

// fault prints what is wrong, if anything is.
func (t statusTable) fault(what, why string) {
	if why != "" {
		t.painted("", red, what+why)
	}
}

// painted prints what may have several lines, as the errors of a configuration.
func (t statusTable) painted(name, colour, value string) {
	for line := range strings.SplitSeq(value, "\n") {
		fmt.Fprintf(t.w, "  %s\t%s\n", name, t.paint.in(colour, audit.Printable(line)))
		name = ""
	}
}

// nftables tells how our table is.
func (t statusTable) nftables(table *control.TableStatus) {
	text, colour := "table "+table.Name, ""
	switch {
	case table.Error != "":
		text, colour = text+", not in place: "+table.Error, red
	case !table.Intact:
		text, colour = text+", changed by somebody else", red
	}
	if table.Restored > 0 {
		text += fmt.Sprintf(", put back %s", count(int(table.Restored), "time"))
	}
	t.painted("nftables", colour, text)
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
