package main

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/config"
)

// trailFlag says where the trail is, for every command that reads one.
type trailFlag struct{ stateDir string }

func (f *trailFlag) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.stateDir, "state-dir", "", "directory of the state, instead of what the configuration says")
}

// dir is the directory of the audit trail.
func (f *trailFlag) dir(e *env) (string, error) {
	if f.stateDir != "" {
		return filepath.Join(f.stateDir, "audit"), nil
	}
	cfg, err := e.loadPlaces()
	if _, unusable := errors.AsType[config.Errors](err); unusable {
		return "", hinted(err, "a trail can be read without a configuration: --state-dir /var/lib/outwarden")
	}
	if err != nil {
		return "", err
	}
	return filepath.Join(cfg.StateDir, "audit"), nil
}

// trailError gives a hint to what goes wrong with a trail.
func trailError(err error) error {
	switch {
	case errors.Is(err, audit.ErrNoTrail):
		return hinted(err, "nothing has been recorded there yet; --config or --state-dir names another place")
	case errors.Is(err, fs.ErrPermission):
		return hinted(err, "the trail is for root alone: sudo outwarden ...")
	}
	return err
}

// maxLineWarnings is after how many broken lines we only count.
const maxLineWarnings = 3

// eachRecord calls f for every record and warns of lines that are none.
func eachRecord(e *env, records iter.Seq2[audit.Record, error], f func(*audit.Record) error) error {
	broken := 0
	for r, err := range records {
		if _, line := errors.AsType[*audit.LineError](err); line {
			if broken++; broken <= maxLineWarnings {
				fmt.Fprintf(e.stderr, "outwarden: warning: %v\n", err)
			}
			continue
		}
		if err != nil {
			return trailError(err)
		}
		if err := f(&r); err != nil {
			return err
		}
	}
	if broken > 0 {
		fmt.Fprintf(e.stderr, "outwarden: warning: %s can't be read, see: outwarden audit verify\n", count(broken, "line"))
	}
	return nil
}

// collect reads all that a query wants.
func collect(e *env, dir string, q audit.Query) ([]audit.Record, error) {
	var out []audit.Record
	err := eachRecord(e, audit.Read(dir, q), func(r *audit.Record) error {
		out = append(out, *r)
		return nil
	})
	return out, err
}

// writeLine prints a record in full. A line that someone put there
// by hand may hold what a terminal acts on; our own never does.
func writeLine(e *env, r *audit.Record) error {
	_, err := fmt.Fprintln(e.stdout, audit.Printable(string(r.Line())))
	return err
}

// ago parses "5m" and "2d": not what is to come, nor longer ago than a Duration is.
func ago(s string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		const most = 100_000
		n, err := strconv.ParseFloat(days, 64)
		return time.Duration(n * float64(24*time.Hour)), err == nil && 0 <= n && n <= most
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d >= 0
}

// period parses --since and --until. One that nothing can fall into is no question.
func period(q *audit.Query, since, until string, now time.Time) (err error) {
	if q.Since, err = instant(since, now); err != nil {
		return err
	}
	if q.Until, err = instant(until, now); err != nil {
		return err
	}
	if !q.Until.IsZero() && !q.Since.Before(q.Until) {
		return usageError{errors.New("--since is not before --until"), "5m is later than 2d: so long ago"}
	}
	return nil
}

// instant parses "5m" (so long ago), RFC 3339, "2006-01-02 15:04" and "2006-01-02"
// in local time.
func instant(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, ok := ago(strings.TrimPrefix(s, "-")); ok {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usageError{fmt.Errorf("time %q is not understood", s), "so long ago as 5m or 2d, or 2026-03-01T12:00:00Z"}
}
