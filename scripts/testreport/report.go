package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// event is one line of `go test -json` (cmd/test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64 // seconds
	Output  string
}

// totals are the numbers of the last line.
type totals struct{ passed, failed, skipped int }

func (t totals) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.passed, t.failed, t.skipped)
}

// report gathers the tests of a run.
type report struct {
	out   io.Writer
	tests map[test]*outcome
	broke []string // packages that failed without a failed test
}

type test struct{ pkg, name string }

// outcome is what is known of one test; action is empty until it ends.
type outcome struct {
	action string
	output strings.Builder
}

func newReport(out io.Writer) *report {
	return &report{out: out, tests: map[test]*outcome{}}
}

// add takes the next event in.
func (r *report) add(e event) {
	switch {
	case e.Action == "build-output":
		fmt.Fprint(r.out, e.Output)
	case e.Package == "":
	case e.Action == "output":
		r.of(e).output.WriteString(e.Output)
	case e.Test == "" && ends(e.Action):
		r.endPackage(e)
	case ends(e.Action):
		r.of(e).action = e.Action
	default:
		r.of(e)
	}
}

func ends(action string) bool {
	return action == "pass" || action == "fail" || action == "skip"
}

func (r *report) of(e event) *outcome {
	key := test{e.Package, e.Test}
	if r.tests[key] == nil {
		r.tests[key] = &outcome{}
	}
	return r.tests[key]
}

// endPackage prints the package's line and what failed in it. A test without
// an end was cut off by a panic or a timeout: it failed.
func (r *report) endPackage(e event) {
	failed := false
	for _, key := range r.named(e.Package) {
		o := r.tests[key]
		if o.action == "" {
			o.action = "fail"
		}
		if o.action == "fail" {
			failed = true
			r.print(o)
		}
	}
	if e.Action == "fail" && !failed {
		r.broke = append(r.broke, e.Package)
	}
	if e.Action == "fail" {
		r.print(r.of(event{Package: e.Package}))
	}
	if e.Action != "skip" { // a package without tests
		fmt.Fprintf(r.out, "%-5s%s %.1fs\n", map[string]string{"pass": "ok", "fail": "FAIL"}[e.Action], e.Package, e.Elapsed)
	}
}

// print shows what a test wrote, without the verdicts that go test adds.
func (r *report) print(o *outcome) {
	for line := range strings.Lines(o.output.String()) {
		if !strings.HasPrefix(line, "FAIL") && !strings.HasPrefix(line, "=== RUN") {
			fmt.Fprint(r.out, line)
		}
	}
}

// named lists the tests of a package in order.
func (r *report) named(pkg string) []test {
	var keys []test
	for k := range r.tests {
		if k.pkg == pkg && k.name != "" {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b test) int { return strings.Compare(a.name, b.name) })
	return keys
}

// finish prints the skipped tests by reason and the last line.
func (r *report) finish() totals {
	t := totals{failed: len(r.broke)}
	reasons := map[string][]string{}
	parents := r.parents()
	for key, o := range r.tests {
		if key.name == "" {
			continue
		}
		if childFailed, parent := parents[key]; parent && (childFailed || o.action != "fail") {
			continue
		}
		switch o.action {
		case "pass":
			t.passed++
		case "skip":
			t.skipped++
			reason := reason(o.output.String())
			reasons[reason] = append(reasons[reason], short(key))
		default:
			t.failed++
		}
	}
	r.printSkips(reasons)
	fmt.Fprintln(r.out, t)
	return t
}

func (r *report) printSkips(reasons map[string][]string) {
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		names := reasons[reason]
		slices.Sort(names)
		fmt.Fprintf(r.out, "skipped (%s):\n  %s\n", reason, strings.Join(names, "\n  "))
	}
}

// parents are the tests with subtests, and whether one of these failed. A
// parent is counted only if it failed on its own account.
func (r *report) parents() map[test]bool {
	parents := map[test]bool{}
	for key, o := range r.tests {
		for i, c := range key.name {
			if c == '/' {
				parent := test{key.pkg, key.name[:i]}
				parents[parent] = parents[parent] || o.action == "fail"
			}
		}
	}
	return parents
}

// reason is what the test said when it skipped, without file and line.
func reason(output string) string {
	for _, line := range strings.Split(output, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		if _, after, ok := strings.Cut(line, ".go:"); ok {
			_, line, _ = strings.Cut(after, ": ")
		}
		return line
	}
	return "no reason given"
}

func short(key test) string {
	return strings.TrimPrefix(key.pkg, "github.com/outwarden/outwarden/") + " " + key.name
}
