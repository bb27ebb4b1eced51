package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/outwarden/outwarden/pkg/audit"
)

// trailLast bounds how many records a story has if not told otherwise.
const trailLast = 1000

func newTrailCmd(e *env) *cobra.Command {
	var where trailFlag
	var since, until string
	var last int
	cmd := &cobra.Command{
		Use:   "trail PID|EXE|UNIT",
		Short: "The story of one process, program or unit",
		Long: `The story of one process, program or unit: who each process was, what it called, and
what came of it. EXE is a path, a glob or a file's name; a word that is no program's
name is taken for a unit.`,
		Example: `  outwarden trail 4711
  outwarden trail /opt/billing/bin/transfer --since 1h
  outwarden trail billing.service -o json`,
		Args: oneArg("a process id, an executable or a unit"),
		RunE: func(_ *cobra.Command, args []string) error {
			endBySignal()
			if last < 0 {
				return usageError{fmt.Errorf("--last %d", last), "0 means all"}
			}
			dir, err := where.dir(e)
			if err != nil {
				return err
			}
			q := audit.Query{Last: last, Kinds: shownKinds}
			if err := period(&q, since, until, time.Now()); err != nil {
				return err
			}
			records, err := findTrail(e, dir, q, args[0])
			if err != nil {
				return err
			}
			return printTrail(e, args[0], records, last)
		},
	}
	flags := cmd.Flags()
	where.register(flags)
	flags.StringVar(&since, "since", "", "from: 5m, 2d or 2026-03-01T12:00:00Z")
	flags.StringVar(&until, "until", "", "to, in the same forms")
	flags.IntVar(&last, "last", trailLast, "only the newest so many records; 0: all")
	return cmd
}

// findTrail takes the word for what it looks like.
func findTrail(e *env, dir string, q audit.Query, word string) ([]audit.Record, error) {
	if pid, err := strconv.ParseUint(word, 10, 32); err == nil {
		q.PIDs = []uint32{uint32(pid)}
		return collect(e, dir, q)
	}
	exe, unit := q, q
	exe.Exes, unit.Units = []string{word}, []string{word}
	if strings.Contains(word, "/") {
		return collect(e, dir, exe)
	}
	records, err := collect(e, dir, exe)
	if err != nil || len(records) > 0 {
		return records, err
	}
	return collect(e, dir, unit)
}

func printTrail(e *env, word string, records []audit.Record, last int) error {
	if len(records) == 0 {
		return hinted(fmt.Errorf("no record of %s", strconv.Quote(word)), "outwarden flows --last 0 lists who called anything")
	}
	if e.json() {
		for i := range records {
			if err := writeLine(e, &records[i]); err != nil {
				return err
			}
		}
		return nil
	}
	s := sheet{w: e.stdout, paint: painter{e.colour()}}
	processes := byProcess(records)
	for i, of := range processes {
		if i > 0 {
			s.gap()
		}
		story(e, &s, of)
	}
	if len(processes) > 1 {
		s.gap()
		s.title(fmt.Sprintf("%d processes", len(processes)), span(records))
		s.totals(records)
	}
	if last > 0 && len(records) == last {
		s.gap()
		s.printf("%s\n", s.paint.in(dim, fmt.Sprintf("the newest %d records; --last 0 tells all", last)))
	}
	return s.err
}

// byProcess sorts records by the process they are of, in order of appearance.
func byProcess(records []audit.Record) [][]audit.Record {
	type key struct {
		pid   uint32
		start time.Time
		exe   string
	}
	index := map[key]int{}
	var out [][]audit.Record
	for _, r := range records {
		var k key
		if p := r.Process; p != nil {
			k = key{p.PID, p.Start, p.Exe}
		}
		i, ok := index[k]
		if !ok {
			i = len(out)
			index[k] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], r)
	}
	return out
}

// story prints who a process was, what it did, and what came of it.
func story(e *env, s *sheet, records []audit.Record) {
	p := records[len(records)-1].Process
	s.title(caller(p), span(records))
	s.identity(p)
	s.gap()
	t := table{paint: s.paint}
	style := rowStyle{wide: e.output == "wide", date: !sameDay(records), path: e.pathWidth()}
	if s.err == nil {
		s.err = printRows(e, &t, style, "  ", records)
	}
	s.gap()
	s.totals(records)
}

// span is from when to when records are.
func span(records []audit.Record) string {
	first, last := records[0].Time.Local(), records[len(records)-1].Time.Local()
	s := first.Format("2006-01-02 15:04:05")
	switch {
	case first.Format(time.DateTime) == last.Format(time.DateTime):
	case first.Format(time.DateOnly) == last.Format(time.DateOnly):
		s += " to " + last.Format("15:04:05")
	default:
		s += " to " + last.Format("2006-01-02 15:04:05")
	}
	return s
}

// tally counts words in order of their number.
type tally struct {
	n     map[string]int
	order []string
}

func (t *tally) add(word string) {
	if word == "" {
		return
	}
	if t.n == nil {
		t.n = map[string]int{}
	}
	if t.n[word]++; t.n[word] == 1 {
		t.order = append(t.order, word)
	}
}

func (t *tally) String() string {
	slices.SortStableFunc(t.order, func(a, b string) int { return t.n[b] - t.n[a] })
	parts := make([]string, len(t.order))
	for i, word := range t.order {
		parts[i] = fmt.Sprintf("%d× %s", t.n[word], word)
	}
	return strings.Join(parts, ", ")
}

// totals sums up what records are about.
func (s *sheet) totals(records []audit.Record) {
	var requests, connections int
	var in, out int64
	var answers, reasons, credentials, hosts tally
	for i := range records {
		r := &records[i]
		switch r.Kind {
		case audit.KindRequest:
			requests++
		case audit.KindConnection:
			connections++
		}
		if refused(r) {
			reasons.add(orNone(r.Reason, r.Decision))
		}
		if r.Status != 0 {
			answers.add(strconv.Itoa(r.Status))
		}
		for _, c := range r.Credentials {
			credentials.add(c.Name)
		}
		hosts.add(destination(r))
		in, out = in+r.BytesIn, out+r.BytesOut
	}
	s.field("in all", inAll(requests, connections, out, in))
	s.field("to", hosts.String())
	s.field("answers", answers.String())
	s.painted("credentials", credentials.String(), green)
	s.painted("refused", reasons.String(), red)
}

func inAll(requests, connections int, out, in int64) string {
	var parts []string
	if requests > 0 {
		parts = append(parts, count(requests, "request"))
	}
	if connections > 0 {
		parts = append(parts, count(connections, "connection")+" without a request seen")
	}
	if out+in > 0 {
		parts = append(parts, size(out)+" sent", size(in)+" received")
	}
	return strings.Join(parts, ", ")
}
