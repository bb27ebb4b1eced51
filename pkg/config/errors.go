package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Error is one thing wrong in a file.
type Error struct {
	Position
	Message string
	Hint    string // how to mend it; "" if there is nothing to add
}

// Error is "file:line:column: message (hint)".
func (e *Error) Error() string {
	s := e.Position.String() + ": " + e.Message
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Errors is everything wrong, by place. It is what Load returns for files that
// could be read.
type Errors []*Error

// Error has one line for each error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the errors one by one.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, err := range e {
		errs[i] = err
	}
	return errs
}

// Warning is something that loads but is likely a mistake.
type Warning struct {
	Position
	Message string
}

// String is "file:line:column: message".
func (w Warning) String() string { return w.Position.String() + ": " + w.Message }

// report collects what is found.
type report struct {
	errors   Errors
	warnings []Warning
	failed   map[Position]bool
}

// fail keeps one error for a place: a second one there follows from the first.
func (r *report) fail(at Position, hint, format string, args ...any) {
	if r.failed[at] {
		return
	}
	if r.failed == nil {
		r.failed = map[Position]bool{}
	}
	r.failed[at] = true
	r.errors = append(r.errors, &Error{at, fmt.Sprintf(format, shortened(args)...), short(hint)})
}

// mostRepeated is how many bytes of what stands in a file an error repeats.
const mostRepeated = 256

// shortened cuts the text among the arguments of a message.
func shortened(args []any) []any {
	out := slices.Clone(args)
	for i, arg := range out {
		switch arg := arg.(type) {
		case string:
			out[i] = short(arg)
		case error:
			out[i] = short(arg.Error())
		}
	}
	return out
}

// short keeps the ends of a long text, as an error may end with what is wrong.
func short(s string) string {
	if len(s) <= mostRepeated {
		return s
	}
	head, tail := mostRepeated/2, len(s)-mostRepeated/2
	for head > 0 && !utf8.RuneStart(s[head]) {
		head--
	}
	for tail < len(s) && !utf8.RuneStart(s[tail]) {
		tail++
	}
	return s[:head] + "…" + s[tail:]
}

func (r *report) warn(at Position, format string, args ...any) {
	r.warnings = append(r.warnings, Warning{at, fmt.Sprintf(format, args...)})
}

// result sorts by place, files in the order in which they were read. What is
// wrong makes warnings unreliable, so there are none beside errors.
func (r *report) result(files []string) ([]Warning, error) {
	order := func(a, b Position) int {
		return cmp.Or(
			cmp.Compare(slices.Index(files, a.File), slices.Index(files, b.File)),
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	}
	if len(r.errors) > 0 {
		slices.SortStableFunc(r.errors, func(a, b *Error) int { return order(a.Position, b.Position) })
		return nil, r.errors
	}
	slices.SortStableFunc(r.warnings, func(a, b Warning) int {
		return cmp.Or(order(a.Position, b.Position), cmp.Compare(a.Message, b.Message))
	})
	return r.warnings, nil
}

// DidYouMean is a hint with the known name nearest to s, or "".
func DidYouMean(s string, known []string) string {
	best, least := "", 1+len(s)/3
	for _, name := range known {
		if d := distance(strings.ToLower(s), strings.ToLower(name), least); d <= least && (best == "" || d < least) {
			best, least = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %s?", best)
}

// distance is the number of bytes to insert, remove or replace; anything above
// most comes back as more than most.
func distance(a, b string, most int) int {
	if len(a)-len(b) > most || len(b)-len(a) > most {
		return most + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
