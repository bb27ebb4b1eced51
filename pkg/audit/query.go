package audit

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/outwarden/outwarden/pkg/match"
	"github.com/outwarden/outwarden/pkg/process"
)

// Query says which records are wanted. Every field that is set must fit, and a
// field fits if one of its values does. The zero value wants all.
type Query struct {
	Since, Until time.Time // at or after, before
	Last         int       // only the newest so many; 0: all

	Kinds     []string
	Flows     []string
	Seqs      []uint64
	PIDs      []uint32
	UIDs      []uint32
	Users     []string
	Exes      []string // path globs; without a slash: the file's name
	Units     []string // globs; ".service" may be left out
	Hosts     []string // patterns of pkg/match; also met by SNI and original address
	Routes    []string // globs
	Decisions []string
	Reasons   []string // globs
	Statuses  []Statuses
	Methods   []string // in any case
	Paths     []string // path patterns of pkg/match, without the query

	// Not asks for the records that these fields leave out. Since, Until, Last
	// and Kinds mean the same as ever.
	Not bool
}

// Statuses is a range of HTTP status codes, both ends included.
type Statuses struct{ From, To int }

// ParseStatuses reads "404", "4xx", "400-403" or "5+" (500 and more).
func ParseStatuses(s string) (Statuses, error) {
	if from, to, ok := strings.Cut(s, "-"); ok {
		a, errA := parseStatus(from)
		b, errB := parseStatus(to)
		if errA == nil && errB == nil && a <= b {
			return Statuses{a, b}, nil
		}
	} else if n, err := parseStatus(s); err == nil {
		return Statuses{n, n}, nil
	} else if len(s) == 3 && strings.EqualFold(s[1:], "xx") && s[0] >= '1' && s[0] <= '9' {
		n := int(s[0]-'0') * 100
		return Statuses{n, n + 99}, nil
	} else if head, ok := strings.CutSuffix(s, "+"); ok {
		if len(head) == 1 {
			head += "00"
		}
		if n, err := parseStatus(head); err == nil {
			return Statuses{n, 999}, nil
		}
	}
	return Statuses{}, fmt.Errorf("status %q: want 404, 4xx, 400-403 or 5+", s)
}

func parseStatus(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 100 || n > 999 {
		return 0, strconv.ErrRange
	}
	return n, nil
}

// test is one condition of a query.
type test func(*Record) bool

// filter is a query made ready.
type filter struct {
	Query
	tests   []test
	needles [][][]byte // a line that has none of a group's cannot fit, nor what it refers to
}

// Check says which pattern of the query is none.
func (q Query) Check() error {
	_, err := q.compile()
	return err
}

// compile checks a query's patterns.
func (q Query) compile() (*filter, error) {
	f := &filter{Query: q}
	f.exact("flow", q.Flows, func(r *Record) string { return r.Flow })
	f.exact("decision", q.Decisions, func(r *Record) string { return r.Decision })
	f.number(len(q.Seqs), func(r *Record) bool { return slices.Contains(q.Seqs, r.Seq) })
	f.person(len(q.PIDs), func(p *process.Identity) bool { return slices.Contains(q.PIDs, p.PID) })
	f.person(len(q.UIDs), func(p *process.Identity) bool { return slices.Contains(q.UIDs, p.UID) })
	f.person(len(q.Users), func(p *process.Identity) bool { return slices.Contains(q.Users, p.User) })
	f.number(len(q.Statuses), func(r *Record) bool {
		return slices.ContainsFunc(q.Statuses, func(s Statuses) bool { return s.From <= r.Status && r.Status <= s.To })
	})
	f.number(len(q.Methods), func(r *Record) bool {
		return slices.ContainsFunc(q.Methods, func(m string) bool { return strings.EqualFold(m, r.Method) })
	})
	for _, add := range []func() error{f.hosts, f.paths, f.exes, f.units, f.routes, f.reasons} {
		if err := add(); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// exact adds a condition on a field that is written without escapes, so that
// lines can be passed over undecoded.
func (f *filter) exact(key string, values []string, field func(*Record) string) {
	if len(values) == 0 {
		return
	}
	var needles [][]byte
	for _, v := range values {
		needles = append(needles, text(nil, `"`+key+`":`, v))
	}
	f.needles = append(f.needles, needles)
	f.tests = append(f.tests, func(r *Record) bool { return slices.Contains(values, field(r)) })
}

func (f *filter) number(n int, t test) {
	if n > 0 {
		f.tests = append(f.tests, t)
	}
}

func (f *filter) person(n int, t func(*process.Identity) bool) {
	f.number(n, func(r *Record) bool { return r.Process != nil && t(r.Process) })
}

func (f *filter) hosts() error {
	var all []match.Host
	for _, s := range f.Query.Hosts {
		h, err := match.ParseHost(s)
		if err != nil {
			return fmt.Errorf("host %q: %w", s, err)
		}
		all = append(all, h)
	}
	f.number(len(all), func(r *Record) bool {
		return slices.ContainsFunc(all, func(h match.Host) bool {
			return r.Host != "" && h.Match(r.Host) || r.SNI != "" && h.Match(r.SNI) || r.Original != nil && h.Match(r.Original.IP)
		})
	})
	return nil
}

func (f *filter) paths() error {
	var all []match.Path
	for _, s := range f.Query.Paths {
		p, err := match.ParsePath(s)
		if err != nil {
			return fmt.Errorf("path %q: %w", s, err)
		}
		all = append(all, p)
	}
	f.number(len(all), func(r *Record) bool {
		bare, _, _ := strings.Cut(r.Path, "?")
		return slices.ContainsFunc(all, func(p match.Path) bool { return bare != "" && p.Match(bare) })
	})
	return nil
}

func (f *filter) exes() error {
	return f.globs("executable", f.Query.Exes, func(r *Record, g match.Glob) bool {
		if r.Process == nil {
			return false
		}
		for _, exe := range []string{r.Process.Exe, r.Process.ExeInside} {
			if g.Match(exe) || exe != "" && !strings.Contains(g.String(), "/") && g.Match(path.Base(exe)) {
				return true
			}
		}
		return false
	})
}

func (f *filter) units() error {
	return f.globs("unit", f.Query.Units, func(r *Record, g match.Glob) bool {
		if r.Process == nil {
			return false
		}
		unit := r.Process.Unit
		short, cut := strings.CutSuffix(unit, ".service")
		return g.Match(unit) || cut && g.Match(short)
	})
}

func (f *filter) routes() error {
	return f.globs("route", f.Query.Routes, func(r *Record, g match.Glob) bool { return g.Match(r.Route) })
}

func (f *filter) reasons() error {
	return f.globs("reason", f.Query.Reasons, func(r *Record, g match.Glob) bool { return g.Match(r.Reason) })
}

func (f *filter) globs(what string, patterns []string, t func(*Record, match.Glob) bool) error {
	var all []match.Glob
	for _, s := range patterns {
		g, err := match.ParseGlob(s)
		if err != nil {
			return fmt.Errorf("%s %q: %w", what, s, err)
		}
		all = append(all, g)
	}
	f.number(len(all), func(r *Record) bool {
		return slices.ContainsFunc(all, func(g match.Glob) bool { return t(r, g) })
	})
	return nil
}

// fits reports whether a record is wanted.
func (f *filter) fits(r *Record) bool {
	if !f.Since.IsZero() && r.Time.Before(f.Since) || !f.Until.IsZero() && !r.Time.Before(f.Until) {
		return false
	}
	if len(f.Kinds) > 0 && !slices.Contains(f.Kinds, r.Kind) {
		return false
	}
	if len(f.tests) == 0 {
		return true
	}
	all := true
	for _, t := range f.tests {
		all = all && t(r)
	}
	return all != f.Not
}
