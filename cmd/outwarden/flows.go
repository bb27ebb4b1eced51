package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/outwarden/outwarden/pkg/audit"
)

func newFlowsCmd(e *env) *cobra.Command {
	var f filters
	var where trailFlag
	var follow bool
	cmd := &cobra.Command{
		Use:   "flows",
		Short: "Who called what, what was decided, and how it went",
		Long: `Who called what, what was decided, and how it went: one line per request, or per
connection in which no request was seen, oldest first.

Filters by different flags must all fit, of several values for one flag one must.
→ went through us, ⇢ was passed on undecrypted, ✗ was refused; +NAME is a credential
that was put on the request.`,
		Example: `  outwarden flows -f
  outwarden flows --host '*.partner.example' --status 4xx,5xx --since 1h
  outwarden flows --exe curl --decision deny -o wide
  outwarden flows --unit billing --since 2d -o json | jq .path`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !follow {
				endBySignal()
			}
			q, err := f.query(cmd.Flags().Changed, time.Now())
			if err != nil {
				return err
			}
			dir, err := where.dir(e)
			if err != nil {
				return err
			}
			return flows(cmd, e, dir, q, follow)
		},
	}
	f.register(cmd.Flags())
	where.register(cmd.Flags())
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what comes")
	return cmd
}

func flows(cmd *cobra.Command, e *env, dir string, q audit.Query, follow bool) error {
	if _, err := os.Stat(dir); follow && errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(e.stderr, "outwarden: no audit trail in %s yet: waiting for it\n", printable(dir))
	}
	if e.json() {
		records := audit.Read(dir, q)
		if follow {
			records = audit.Follow(cmd.Context(), dir, q)
		}
		return eachRecord(e, records, func(r *audit.Record) error { return writeLine(e, r) })
	}
	style := rowStyle{wide: e.output == "wide", process: true, path: e.pathWidth()}
	t := table{paint: painter{e.colour()}}
	if follow {
		return eachRecord(e, audit.Follow(cmd.Context(), dir, q), func(r *audit.Record) error {
			return t.print(e.stdout, "", style.row(r))
		})
	}
	records, err := collect(e, dir, q)
	if err != nil {
		return err
	}
	if len(records) == 0 {
		fmt.Fprintln(e.stderr, "outwarden: no flow fits")
		return nil
	}
	style.date = !sameDay(records)
	return printRows(e, &t, style, "", records)
}

// printRows prints records in columns that fit them all.
func printRows(e *env, t *table, style rowStyle, indent string, records []audit.Record) error {
	rows := make([][]cell, len(records))
	for i := range records {
		rows[i] = style.row(&records[i])
		t.fit(rows[i])
	}
	for _, row := range rows {
		if err := t.print(e.stdout, indent, row); err != nil {
			return err
		}
	}
	return nil
}

// sameDay reports whether all records are of today, so that the time says enough.
func sameDay(records []audit.Record) bool {
	today := time.Now().Format(time.DateOnly)
	for i := range records {
		if records[i].Time.Local().Format(time.DateOnly) != today {
			return false
		}
	}
	return true
}

// pathWidth is how much of a path a row shows: as much as lets a line fit on the
// terminal, all of it in a pipe.
func (e *env) pathWidth() int {
	if !e.terminal {
		return 0
	}
	width, _, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		width = 120
	}
	const others, least = 110, 24
	return max(width-others, least)
}
