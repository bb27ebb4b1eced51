// Package pkg_test holds the layers of the house. Every package of the project
// stands in the table below, and imports only what lies on a lower layer.
// Who imports whom is written down in testdata/imports.golden, so that a new
// import is a line in the review.
package pkg_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/outwarden/outwarden/"
	golden = "testdata/imports.golden" // from the root of the repository
)

var update = flag.Bool("update", false, "rewrite "+golden)

// house is the table of README.md and of the packages' doc.go files. The last
// layer may import all others and nothing imports it.
var house = []struct {
	layer    string
	packages []string
}{
	{"L0", []string{"flow", "match", "secret", "clienthello", "http1", "hmacsig", "sigv4", "httpsig", "replay"}},
	{"L1", []string{"capture", "netfilter", "egress", "dns", "process", "authority", "trust", "vault", "geo", "h2", "wire", "relay"}},
	{"L2", []string{"policy", "inject", "scrub", "upstream", "audit", "anomaly", "workload", "verify"}},
	{"L3", []string{"proxy"}},
	{"L4", []string{"config", "control", "handover", "snapshot"}},
	{"L5", []string{"daemon"}},
	{"cmd", []string{"cmd/outwarden", "cmd/partnerapi"}},
}

// words may be imported from everywhere, also from their own layer.
var words = []string{"flow", "match", "secret"}

// testOnly packages are imported by tests alone. They may import words.
var testOnly = []string{"netnstest"}

// listed is one package as `go list` shows it.
type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func TestLayers(t *testing.T) {
	t.Chdir("..")
	var lines []string
	for _, p := range list(t) {
		lines = append(lines, check(t, p))
	}
	slices.Sort(lines)
	compare(t, header+strings.Join(lines, ""))
}

const header = "# Written by `go test ./pkg -run Layers -update`: package: imports; beside = same layer.\n"

// list asks the go command for every package below pkg/ and cmd/.
func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p listed
		if err := dec.Decode(&p); err != nil {
			t.Fatalf("read go list: %v", err)
		}
		if strings.HasPrefix(p.ImportPath, module+"pkg/") || strings.HasPrefix(p.ImportPath, module+"cmd/") {
			all = append(all, p)
		}
	}
	return all
}

// check reports every import of p that the layers forbid, and gives p's line of
// the golden file.
func check(t *testing.T, p listed) string {
	from := short(p.ImportPath)
	if rank(from) < 0 && !slices.Contains(testOnly, from) {
		t.Errorf("%s stands on no layer: give it one in pkg/layers_test.go and in README.md", from)
	}
	var below, beside []string
	for _, path := range p.Imports {
		to, ours := ours(path)
		switch {
		case !ours:
		case slices.Contains(testOnly, to):
			t.Errorf("%s imports %s, which is for tests alone", from, to)
		case upward(from, to):
			t.Errorf("%s imports %s, which lies higher", from, to)
		case sideways(from, to):
			beside = append(beside, to)
		default:
			below = append(below, to)
		}
	}
	checkTests(t, from, slices.Concat(p.TestImports, p.XTestImports))
	return line(from, below, beside)
}

// checkTests holds tests to the same direction; netnstest is theirs to use.
func checkTests(t *testing.T, from string, imports []string) {
	for _, path := range imports {
		if to, ours := ours(path); ours && to != from && upward(from, to) {
			t.Errorf("a test of %s imports %s, which lies higher", from, to)
		}
	}
}

// line is one package of the golden file.
func line(from string, below, beside []string) string {
	s := fmt.Sprintf("%-5s%s", layer(from), from)
	if len(below) > 0 {
		s += ": " + strings.Join(below, " ")
	}
	if len(beside) > 0 {
		s += "; beside: " + strings.Join(beside, " ")
	}
	return s + "\n"
}

// compare holds got against the golden file, or writes it.
func compare(t *testing.T, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatalf("%v (go test ./pkg -run Layers -update writes it)", err)
	}
	for _, l := range missing(string(want), got) {
		t.Errorf("not in %s: %s", golden, l)
	}
	for _, l := range missing(got, string(want)) {
		t.Errorf("only in %s: %s", golden, l)
	}
}

// missing lists the lines of b that a lacks.
func missing(a, b string) []string {
	have := strings.Split(a, "\n")
	var out []string
	for _, l := range strings.Split(b, "\n") {
		if !slices.Contains(have, l) {
			out = append(out, l)
		}
	}
	return out
}

func upward(from, to string) bool {
	return !slices.Contains(words, to) && !slices.Contains(testOnly, to) && rank(to) > rank(from)
}

func sideways(from, to string) bool {
	return !slices.Contains(words, to) && rank(to) == rank(from)
}

// ours cuts the module off an import path; false means another module's.
func ours(path string) (string, bool) {
	if !strings.HasPrefix(path, module) {
		return "", false
	}
	return short(path), true
}

// short names a package as the table does.
func short(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, module), "pkg/")
}

// rank is the layer's number from below, or -1 for a package on no layer.
func rank(name string) int {
	for i, l := range house {
		if slices.Contains(l.packages, name) {
			return i
		}
	}
	return -1
}

// layer is the layer's name as the golden file prints it; what stands on none is for tests.
func layer(name string) string {
	if i := rank(name); i >= 0 {
		return house[i].layer
	}
	return "test"
}
