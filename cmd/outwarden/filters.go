package main

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/outwarden/outwarden/pkg/audit"
)

// filters are the flags that choose records.
type filters struct {
	hosts, exes, users, units, routes, decisions, statuses, methods, paths, reasons, kinds []string
	pids, uids                                                                             []uint
	since, until                                                                           string
	last                                                                                   int
	not                                                                                    bool
}

const defaultLast = 20

// shownKinds are what flows shows if not told: the intent to use a credential is
// followed by the result of the same request.
var shownKinds = []string{
	audit.KindConnection, audit.KindRequest, audit.KindDecision, audit.KindGrant, audit.KindAlert, audit.KindLoss,
}

var allKinds = append(slices.Clone(shownKinds), audit.KindCredential, audit.KindProcess, audit.KindCheckpoint)

func (f *filters) register(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.hosts, "host", nil, "host, *.domain, address or network")
	flags.StringSliceVar(&f.exes, "exe", nil, "executable: path glob, or the file's name")
	flags.UintSliceVar(&f.pids, "pid", nil, "process id")
	flags.UintSliceVar(&f.uids, "uid", nil, "user id")
	flags.StringSliceVar(&f.users, "user", nil, "user name")
	flags.StringSliceVar(&f.units, "unit", nil, "systemd unit")
	flags.StringSliceVar(&f.routes, "route", nil, "route")
	flags.StringSliceVar(&f.decisions, "decision", nil, "intercept, passthrough or deny")
	flags.StringSliceVar(&f.statuses, "status", nil, "HTTP status: 404, 4xx, 400-403, 5+")
	flags.StringSliceVar(&f.methods, "method", nil, "HTTP method")
	flags.StringSliceVar(&f.paths, "path", nil, "path pattern, such as /api/**")
	flags.StringSliceVar(&f.reasons, "reason", nil, "why it was refused")
	flags.StringSliceVar(&f.kinds, "kind", nil, "kind of record, or all")
	flags.StringVar(&f.since, "since", "", "from: 5m, 2d or 2026-03-01T12:00:00Z")
	flags.StringVar(&f.until, "until", "", "to, in the same forms")
	flags.IntVar(&f.last, "last", defaultLast, "only the newest so many; 0: all (and so with --since or --until)")
	flags.Lookup("pid").DefValue, flags.Lookup("uid").DefValue = "", "" // not "[]" in --help
	flags.BoolVar(&f.not, "not", false, "what the filters by content leave out")
}

// query makes a query of the flags; changed says whether one was given.
func (f *filters) query(changed func(string) bool, now time.Time) (audit.Query, error) {
	q := audit.Query{
		Hosts: f.hosts, Exes: f.exes, Users: f.users, Units: f.units, Routes: f.routes, Methods: f.methods,
		Paths: f.paths, Reasons: f.reasons, Decisions: f.decisions, Last: f.last, Not: f.not,
		PIDs: ids(f.pids), UIDs: ids(f.uids),
	}
	if !changed("last") && (f.since != "" || f.until != "") {
		q.Last = 0
	}
	if f.last < 0 {
		return q, usageError{fmt.Errorf("--last %d", f.last), "0 means all"}
	}
	if err := f.noneEmpty(changed); err != nil {
		return q, err
	}
	err := period(&q, f.since, f.until, now)
	if err != nil {
		return q, err
	}
	if q.Kinds, err = f.kindsOf(); err != nil {
		return q, err
	}
	if _, err := oneOf("decision", f.decisions, []string{"intercept", "passthrough", "deny"}); err != nil {
		return q, err
	}
	for _, s := range f.statuses {
		r, err := audit.ParseStatuses(s)
		if err != nil {
			return q, usageError{err, "see: outwarden flows --help"}
		}
		q.Statuses = append(q.Statuses, r)
	}
	if err := q.Check(); err != nil {
		return q, usageError{err, "see: outwarden flows --help"}
	}
	return q, nil
}

// noneEmpty refuses a filter that is given and says nothing, as --exe "$UNSET": without it
// all would be shown as if it fitted.
func (f *filters) noneEmpty(changed func(string) bool) error {
	for name, n := range map[string]int{
		"host": len(f.hosts), "exe": len(f.exes), "pid": len(f.pids), "uid": len(f.uids), "user": len(f.users), "unit": len(f.units),
		"route": len(f.routes), "decision": len(f.decisions), "status": len(f.statuses), "method": len(f.methods), "path": len(f.paths),
		"reason": len(f.reasons), "kind": len(f.kinds), "since": len(f.since), "until": len(f.until),
	} {
		if n == 0 && changed(name) {
			return usageError{fmt.Errorf("--%s is empty", name), "leave it out, or say what must fit"}
		}
	}
	return nil
}

// kindsOf takes all for every kind.
func (f *filters) kindsOf() ([]string, error) {
	switch {
	case slices.Contains(f.kinds, "all"):
		return allKinds, nil
	case f.kinds == nil:
		return shownKinds, nil
	}
	return oneOf("kind", f.kinds, allKinds)
}

// oneOf checks words against those there are.
func oneOf(what string, given, known []string) ([]string, error) {
	for _, s := range given {
		if !slices.Contains(known, s) {
			return nil, usageError{fmt.Errorf("unknown %s %s", what, strconv.Quote(s)), fmt.Sprintf("one of %v", known)}
		}
	}
	return given, nil
}

func ids(in []uint) (out []uint32) {
	for _, n := range in {
		out = append(out, uint32(min(n, 1<<32-1)))
	}
	return out
}
