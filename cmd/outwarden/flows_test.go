package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
)

// newTestEnv is a world of the test's own.
func newTestEnv(terminal bool, vars map[string]string) (e *env, stdout, stderr *bytes.Buffer) {
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	e = &env{
		stdin: strings.NewReader(""), stdout: stdout, stderr: stderr, terminal: terminal,
		getenv: func(name string) string { return vars[name] },
	}
	return e, stdout, stderr
}

var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

// Colours are for terminals, unless NO_COLOR is set, and change nothing else.
func TestColours(t *testing.T) {
	state := t.TempDir()
	if err := writeSample(filepath.Join(state, "audit")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"flows", "-o", "wide"}, {"trail", "/**"}, {"flow", "show", "m2kq81xk3f0a"}, {"audit", "verify"}} {
		args = append(args, "--state-dir", state)
		run := func(terminal bool, vars map[string]string) string {
			e, stdout, stderr := newTestEnv(terminal, vars)
			if code := execute(t.Context(), e, args); code != exitDone || stderr.Len() > 0 {
				t.Fatalf("%v: exit %d: %s", args, code, stderr)
			}
			return stdout.String()
		}
		piped, coloured, none := run(false, nil), run(true, nil), run(true, map[string]string{"NO_COLOR": "1"})
		if strings.Contains(piped, "\x1b") || strings.Contains(none, "\x1b") {
			t.Errorf("%v: colours in a pipe or in spite of NO_COLOR", args)
		}
		if !sgr.MatchString(coloured) {
			t.Errorf("%v: no colours on a terminal", args)
		}
		if plain := sgr.ReplaceAllString(coloured, ""); strings.Contains(plain, "\x1b") || plain != none {
			t.Errorf("%v: without its colours the output is\n%s\nwant\n%s", args, plain, none)
		}
	}
}

// flows -f shows what comes and ends with its context, which Ctrl-C ends.
func TestFlowsFollow(t *testing.T) {
	state := t.TempDir()
	if err := os.Mkdir(filepath.Join(state, "audit"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	e, _, stderr := newTestEnv(false, nil)
	r, w := io.Pipe()
	e.stdout = w
	code := make(chan int, 1)
	go func() {
		code <- execute(ctx, e, []string{"flows", "-f", "--exe", "curl", "--state-dir", state})
		_ = w.Close()
	}()
	if err := writeSample(filepath.Join(state, "audit")); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(r)
	for _, want := range []string{"/api/v1/balance", "cdn.example:8443"} {
		if !lines.Scan() || !strings.Contains(lines.Text(), want) {
			t.Fatalf("line %q, want one with %q", lines.Text(), want)
		}
	}
	cancel()
	if lines.Scan() {
		t.Errorf("one more line: %q", lines.Text())
	}
	if c := <-code; c != exitDone || stderr.Len() > 0 {
		t.Errorf("exit %d: %s", c, stderr)
	}
}

// Who waits for a trail that there is none of learns where it is looked for.
func TestFlowsFollowNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e, _, stderr := newTestEnv(false, nil)
	state := t.TempDir()
	code := execute(ctx, e, []string{"flows", "-f", "--state-dir", state})
	if want := "outwarden: no audit trail in " + state + "/audit yet: waiting for it\n"; code != exitDone || stderr.String() != want {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestInstant(t *testing.T) {
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"":                     {},
		"5m":                   now.Add(-5 * time.Minute),
		"-5m":                  now.Add(-5 * time.Minute),
		"2d":                   now.AddDate(0, 0, -2),
		"-2d":                  now.AddDate(0, 0, -2),
		"1.5d":                 now.Add(-36 * time.Hour),
		"2026-03-01T12:00:00Z": now.AddDate(0, 0, -1),
	} {
		if got, err := instant(s, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"yesterday", "5", "d", "2026-13-01", "--5m", "--2d", "200000d", "nand", "infd"} {
		if got, err := instant(s, now); err == nil {
			t.Errorf("%q is read as %v", s, got)
		}
	}
}

func TestDurationAndSize(t *testing.T) {
	for ms, want := range map[float64]string{0: "", 0.001: "<0.01ms", 0.412: "0.41ms", 12.345: "12.3ms", 431: "431ms", 1834.2: "1.83s", 61_000: "1m1s"} {
		if got := duration(ms); got != want {
			t.Errorf("%v ms: %q, want %q", ms, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0B", 999: "999B", 1000: "1kB", 1733: "1.73kB", 999_700: "1MB", 1_234_567: "1.23MB", 5e14: "500TB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

// TestSentBack: flow show tells of a credential that came back in a response.
func TestSentBack(t *testing.T) {
	var b strings.Builder
	s := sheet{w: &b}
	s.record(&audit.Record{Kind: audit.KindRequest, Reason: "secret_reflected", Status: 200, Scrubbed: []audit.Scrubbed{{Name: "token", Count: 2}, {Name: "key", Count: 1}}})
	for _, want := range []string{"secret_reflected", "token, 2 times", "key, 1 time\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
