package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/outwarden/outwarden/pkg/audit"
)

func newAuditCmd(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "audit",
		Short:   "Verify or export the trail",
		Example: "  outwarden audit verify\n  outwarden audit export --since 1d > yesterday.jsonl",
		Args:    knownCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAuditVerifyCmd(e), newAuditExportCmd(e))
	return cmd
}

func newAuditVerifyCmd(e *env) *cobra.Command {
	var where trailFlag
	var expect []string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check every byte of the trail; exit 1 if any is not as it was written",
		Long: `Check every byte of the trail: a changed byte, a removed or a moved record, a cut tail
or a missing segment is named. Exit 1 if anything is found. The trail may be in use.

Whoever is root on this host can make a trail that verifies. Keep the tip that is
printed somewhere else, and --expect it later: a trail that has been rewritten up to
there does not hold it.`,
		Example: `  outwarden audit verify
  outwarden audit verify --expect 4711:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  outwarden audit verify -o json | jq .findings`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			endBySignal()
			anchors, err := parseAnchors(expect)
			if err != nil {
				return err
			}
			dir, err := where.dir(e)
			if err != nil {
				return err
			}
			r, err := audit.Verify(dir, anchors...)
			if err != nil {
				return trailError(err)
			}
			return printVerdict(e, &r)
		},
	}
	where.register(cmd.Flags())
	cmd.Flags().StringArrayVar(&expect, "expect", nil, "SEQ:HASH, a tip that was noted elsewhere")
	return cmd
}

func parseAnchors(words []string) ([]audit.Anchor, error) {
	var out []audit.Anchor
	for _, w := range words {
		seq, hash, _ := strings.Cut(w, ":")
		var a audit.Anchor
		var err error
		if a.Seq, err = strconv.ParseUint(seq, 10, 64); err == nil {
			err = a.Hash.UnmarshalText([]byte(hash))
		}
		if err != nil {
			return nil, usageError{fmt.Errorf("tip %s is not understood", strconv.Quote(w)), "--expect SEQ:HASH, as audit verify prints it"}
		}
		out = append(out, a)
	}
	return out, nil
}

// verdict is what -o json prints.
type verdict struct {
	OK          bool       `json:"ok"`
	Records     uint64     `json:"records"`
	First       uint64     `json:"first,omitempty"`
	Last        uint64     `json:"last,omitempty"`
	Tip         string     `json:"tip,omitempty"`
	From        *time.Time `json:"from,omitempty"`
	To          *time.Time `json:"to,omitempty"`
	Segments    int        `json:"segments"`
	Checkpoints int        `json:"checkpoints"`
	Lost        uint64     `json:"lost"`
	Live        bool       `json:"live"`
	Notes       []string   `json:"notes,omitempty"`
	Findings    []finding  `json:"findings"`
	More        int        `json:"more_findings,omitempty"`
}

type finding struct {
	First   uint64 `json:"first,omitempty"`
	Last    uint64 `json:"last,omitempty"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Problem string `json:"problem"`
}

func printVerdict(e *env, r *audit.Report) error {
	var err error
	if e.json() {
		err = writeJSON(e.stdout, verdictOf(r))
	} else {
		s := sheet{w: e.stdout, paint: painter{e.colour()}}
		s.verdict(r)
		err = s.err
	}
	if err != nil || r.OK() {
		return err
	}
	return exitError{nil, exitFailed}
}

func verdictOf(r *audit.Report) verdict {
	v := verdict{
		OK: r.OK(), Records: r.Records, First: r.First, Last: r.Last, Segments: r.Segments, Checkpoints: r.Checkpoints,
		Lost: r.Lost(), Live: r.Live, Notes: r.Notes, Findings: []finding{}, More: r.More,
	}
	if r.Last > 0 {
		v.Tip = fmt.Sprintf("%d:%s", r.Last, r.Tip)
		v.From, v.To = &r.From, &r.To
	}
	for _, f := range r.Findings {
		v.Findings = append(v.Findings, finding(f))
	}
	return v
}

// verdict prints the one sentence first that matters, and then the grounds.
func (s *sheet) verdict(r *audit.Report) {
	if r.OK() {
		s.printf("%s the trail holds: %s, %s\n", s.paint.in(green, "✓"), count(int(r.Records), "record"), count(r.Segments, "segment"))
	} else {
		s.printf("%s the trail is not as it was written: %s in %s\n", s.paint.in(red, "✗"),
			count(len(r.Findings)+r.More, "finding"), count(int(r.Records), "record"))
		s.findings(r)
	}
	if r.Last == 0 {
		return
	}
	s.field("records", fmt.Sprintf("#%d to #%d, %s to %s", r.First, r.Last, stamp(r.From), stamp(r.To)))
	if r.Checkpoints > 0 {
		s.field("checkpoints", strconv.Itoa(r.Checkpoints))
	}
	for i := range r.Losses {
		l := &r.Losses[i]
		s.painted("loss", fmt.Sprintf("#%d at %s: %s", l.Seq, stamp(l.Time), lossText(l)), yellow)
	}
	for _, note := range r.Notes {
		s.painted("note", note, yellow)
	}
	if r.Live {
		s.field("", "it is being written; what comes now was not looked at")
	}
	if r.OK() {
		s.field("tip", fmt.Sprintf("%d:%s", r.Last, r.Tip))
		s.field("", "note it elsewhere; --expect proves later that nothing up to it was rewritten")
	}
}

func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

const shownFindings = 50

func (s *sheet) findings(r *audit.Report) {
	for i, f := range r.Findings {
		if i == shownFindings {
			s.printf("  and %s more; -o json lists them\n", count(len(r.Findings)+r.More-i, "finding"))
			return
		}
		s.printf("  %s %s\n", s.paint.in(red, "•"), audit.Printable(f.String()))
	}
}

func newAuditExportCmd(e *env) *cobra.Command {
	var f filters
	var where trailFlag
	var file string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write records as lines of JSON, each in full",
		Example: `  outwarden audit export > trail.jsonl
  outwarden audit export --since 1d --unit billing --to billing.jsonl`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			endBySignal()
			q, err := f.query(cmd.Flags().Changed, time.Now())
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("last") {
				q.Last = 0
			}
			if len(f.kinds) == 0 {
				q.Kinds = nil
			}
			dir, err := where.dir(e)
			if err != nil {
				return err
			}
			return export(e, dir, q, file)
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().Lookup("last").DefValue = "0"
	where.register(cmd.Flags())
	cmd.Flags().StringVar(&file, "to", "", "write to this file, which must not exist yet")
	return cmd
}

// export makes the file only once there is something to write.
func export(e *env, dir string, q audit.Query, file string) (err error) {
	w := bufio.NewWriterSize(e.stdout, 1<<16)
	var f *os.File
	n := 0
	err = eachRecord(e, audit.Read(dir, q), func(r *audit.Record) error {
		if n++; n == 1 && file != "" {
			if f, err = os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
				return err
			}
			w.Reset(f)
		}
		_, err := fmt.Fprintln(w, audit.Printable(string(r.Line())))
		return err
	})
	err = errors.Join(err, w.Flush())
	if f != nil {
		err = errors.Join(err, f.Close())
	}
	if err == nil && file != "" {
		fmt.Fprintf(e.stderr, "outwarden: %s exported\n", count(n, "record"))
	}
	return err
}
