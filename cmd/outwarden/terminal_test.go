package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/outwarden/outwarden/pkg/control"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/verify"
)

// hostile is a name that anybody may give a program, a file or a cgroup, and a partner a
// nonce: ESC, CSI in its two other forms, and what turns the direction of text.
const hostile = "x\x1b[2J\u009b31m\u202e\x07"

// No terminal acts on what another chose, whatever prints it.
func TestNothingActsOnATerminal(t *testing.T) {
	config := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(config, []byte("routes: [{name: a, from: {exe: /bin/a}, to: {host: a.example}}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	status := &control.Status{Capture: control.CaptureStatus{
		Scopes: []string{hostile}, Fault: hostile, Table: &control.TableStatus{Name: hostile, Error: hostile},
	}}
	proof := verify.Proof{Nonce: hostile + "\x9b31m", KeyID: hostile}
	for name, show := range map[string]func(*env) error{
		"explain": func(e *env) error {
			execute(t.Context(), e, []string{"explain", "--config", config, "--exe", "/" + hostile, "-o", orNone(e.output, "compact"), "https://a.example/"})
			return nil
		},
		"status": func(e *env) error {
			if e.json() {
				return writeJSON(e.stdout, status)
			}
			return printStatus(e, status)
		},
		"verify": func(e *env) error { return printProof(e, proof, nil, false, time.Now()) },
		"error": func(e *env) error {
			e.fail(hinted(&fs.PathError{Op: "open", Path: hostile, Err: fs.ErrNotExist}, hostile))
			return nil
		},
	} {
		for _, output := range []string{"", "json"} {
			e, stdout, stderr := newTestEnv(false, nil)
			e.output = output
			if err := show(e); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			all := stdout.String() + stderr.String()
			if i := strings.IndexFunc(all, acts); i >= 0 || !utf8.ValidString(all) || !strings.Contains(all, `\u009b`) {
				t.Errorf("%s -o %q: %q", name, output, all)
			}
			if output == "json" && name != "error" && !json.Valid(stdout.Bytes()) {
				t.Errorf("%s: no JSON: %s", name, stdout)
			}
		}
	}
}

// Nor does anybody add lines of his own by the name of a cgroup or a program.
func TestNamesAddNoLines(t *testing.T) {
	const name = "/x\nmade up"
	e, stdout, _ := newTestEnv(false, nil)
	if err := printStatus(e, &control.Status{Capture: control.CaptureStatus{Scopes: []string{name}, Guests: []string{name}}}); err != nil {
		t.Fatal(err)
	}
	printExplanation(e, &explanation{Scope: name, Steps: []string{"no  a: executable " + name}}, &policy.Request{Host: "a.example", Path: "/"})
	if out := stdout.String(); strings.Count(out, `/x\nmade up`) != 4 {
		t.Errorf("not every name is in one line: %s", out)
	}
}

func acts(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }

// What JSON escapes for the terminal's sake is the same value.
func TestJSONKeepsItsMeaning(t *testing.T) {
	var b bytes.Buffer
	want := []string{hostile, "a\\u009b\n\t\"\u2028\U000e0001\x7f"}
	if err := writeJSON(&b, want); err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}

// An error of several lines stays in its column, and times are those of who asks.
func TestStatusOfAFailedReload(t *testing.T) {
	local := time.Local
	time.Local = time.FixedZone("", 9*3600)
	defer func() { time.Local = local }()
	s := &control.Status{Config: control.ConfigStatus{
		LastError: "c.yaml:1:1: one\nc.yaml:2:1: two", Loaded: time.Date(2026, 3, 1, 20, 0, 0, 0, time.UTC),
	}}
	e, stdout, _ := newTestEnv(false, nil)
	if err := printStatus(e, s); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\n             newest reload failed: c.yaml:1:1: one\n             c.yaml:2:1: two\n", "loaded 2026-03-02 05:00:00\n"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
}
